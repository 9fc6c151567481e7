"""`/v1/batches`: files of requests that are accepted as one and answered line by line.

Begin with `routes`, then `service`.
"""
