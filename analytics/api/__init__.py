"""The routes of the analytics process, one router a file."""
