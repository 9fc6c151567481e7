"""Control records."""
