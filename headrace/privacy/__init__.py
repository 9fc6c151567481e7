"""Forgetting a user, everywhere."""
