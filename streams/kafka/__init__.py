"""Kafka clients, their faults, the limits of records, and how records are signed.

Begin with `clients`; `streams.publisher` is how processes send.
"""
