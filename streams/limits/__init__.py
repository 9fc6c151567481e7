"""Rate limits: requests and tokens per minute, and requests at a time, counted in Redis for all processes.

Begin with `subjects` (who is counted, and what may be taken), then `limiter` (takes it, or says why not) and
`scripts` (how that is one step in Redis).
"""
