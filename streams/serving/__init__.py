"""The parts of every HTTP server: the protocol and its limits, API keys, error objects, CORS.

Begin with `protocol`, then `http_limits`. A worker answers its probes with these and without FastAPI.
"""
