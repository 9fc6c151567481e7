"""What the HTTP servers share: the protocol and its limits, API keys, error objects.

Begin with `server`. A worker answers probes with it and without FastAPI, which it has no use for.
"""
