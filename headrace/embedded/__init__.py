"""Kafka, Redis and ClickHouse on one machine without Docker, Java or root.

Each part is a `ChildProcess` that cannot outlive us; `EmbeddedKafka` and `EmbeddedRedis` configure
one. Nothing outside this package knows whether a part is embedded: it is given an endpoint.
"""
