"""What Kafka, Redis, ClickHouse and the provider's invoice say about the requests of a window.

Begin with `records`.
"""
