"""Brings replies and deltas from Kafka to HTTP clients: listening for them, streaming over SSE, resuming.

Begin with `reply_consumer` and `reply_hub` (from Kafka to listeners), then `sse` (a stream). `delta_history`
reads what this replica has not seen. One reply is waited for in `ingest.submit.request_reply`.
"""
