"""From replies and deltas on Kafka to the client: waiting, streaming over SSE, resuming.

Begin with `events` (a stream) or `waiting` (one reply).
"""
