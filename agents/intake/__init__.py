"""Takes a request in: which request it is, where its reply goes, whether it was seen before, how it ends.

Begin with `intake`. `delivery_identity` says what a delivery stands for, however often its record comes;
`outcomes` and `reply_address` build the records that end a request.
"""
