"""Kafka clients, what their faults mean, and how records are signed. Begin with `clients`."""
