"""Brings replies and deltas from Kafka to HTTP clients: waiting for a reply, streaming over SSE, resuming.

Begin with `reply_consumer` and `reply_hub` (from Kafka to listeners), then `waiting` (one reply) or `sse` (a
stream). `delta_history` reads what this replica has not seen. The routes are in `native.requests`.
"""
