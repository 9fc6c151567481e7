"""Admits requests: which request a record holds, where its reply goes, whether it is known already.

Begin with `intake`. `envelopes` finds request id, submission and deadline of a record, also when it is
delivered twice. `replies` builds the records that end a request.
"""
