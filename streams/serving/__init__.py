"""What the HTTP servers share, ingest and analytics: API keys, error objects, bounds on what a client may do.

Nothing else of `streams` imports it: a worker has no use for a web framework.
"""
