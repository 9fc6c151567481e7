"""What stands behind the watcher: windows, verdicts, the book of alerts and its topic."""
