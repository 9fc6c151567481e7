"""What every first stage does with a record from outside: who asks, where the reply goes, was it seen before.

Begin with `intake`.
"""
