"""FastAPI: authenticate, publish to Kafka, wait for the reply or stream it."""
