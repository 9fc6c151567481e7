"""The watchdog of a worker: it ends a process whose consumers make no progress.

Begin with `watchdog`; `stall_rules` decides.
"""
