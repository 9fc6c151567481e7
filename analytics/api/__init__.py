"""The HTTP routes of the analytics process, one router a file.

Begin with `queries`; `query_errors` turns faults into error objects.
"""
