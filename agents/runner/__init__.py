"""Runs stages over Kafka: consumption, retries, dead letters, sends, acknowledgement. Only it imports Faust.

Begin with `stage_runner` (one record, from its delivery to its acknowledgement) and `stage_handler` (what
becomes of it), then `stage_app` (a Faust app), `group_consumer` (what feeds it) and `assignment` (which
offsets may be committed).
`record_retry` has the retry schedule of records, `watchdog` ends a worker that makes no progress.
"""
