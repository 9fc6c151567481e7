"""The HTTP API: authenticates, publishes a request to Kafka, and returns its reply or streams it.

Begin with `submit.request_reply`. `main` lists the routes; `services` connects what they need.
"""
