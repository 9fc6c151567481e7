"""From an HTTP body to a record on a topic: checks, identity, registration, publishing.

Begin with `request_reply`, then `submission`.
"""
