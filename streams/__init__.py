"""The contract that ingest, agents and analytics share: events, topics, codec, errors, settings."""
