"""What the stages keep in Redis."""
