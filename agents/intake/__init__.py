"""Admits requests: which request a record holds, where its reply goes, whether it is known already.

Begin with `intake`. `delivery_identity` finds request id, submission and deadline of a record, also when it
is delivered twice. `outcomes`, `reply_address` and `webhook_notice` build the records that end a request.
"""
