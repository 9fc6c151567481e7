"""The parts of every HTTP server: the protocol and its limits, API keys, error objects, CORS.

Begin with `server`. A worker answers probes with it and without FastAPI, which it has no use for.
"""
