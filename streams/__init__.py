"""The contract that ingest, agents and analytics share: events, topics, codec, errors, settings.

Begin with `pipeline` (the stages and their topics), then `events`. `registry` is the request registry in
Redis, `model_catalogue` the models and their prices.
"""
