"""From an HTTP body to a record on a topic: checks, identity, registration, publishing; then the reply.

Begin with `request_reply`, then `submission`.
"""
