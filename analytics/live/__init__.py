"""The pipeline as it is now: how far each consumer group is, what is in flight, what waits for people."""
