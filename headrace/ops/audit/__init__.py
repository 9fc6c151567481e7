"""The audit: what became of every accepted request, by Kafka, Redis, ClickHouse and the invoice."""
