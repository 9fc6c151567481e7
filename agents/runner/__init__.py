"""Runs stages over Kafka: consumption, retries, dead letters, sends, acknowledgement. Only it imports Faust.

Begin with `stage_runner` (one record, from its delivery to its acknowledgement), then `stage_app` (a consumer
group) and `transport` (which offsets may be committed). `watchdog/` ends a worker that makes no progress.
"""
