"""The cost stage: the one place that settles, replies and logs."""
