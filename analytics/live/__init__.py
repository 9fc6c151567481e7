"""The pipeline as it is now: consumer lags, requests in flight, open dead letters.

Begin with `pipeline`.
"""
