"""The HTTP routes of the analytics process, one router a file.

Begin with `queries`; `answering` turns faults into error objects.
"""
