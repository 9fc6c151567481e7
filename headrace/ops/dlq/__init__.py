"""Dead letters: find them, read them, replay or discard them, and know who did what.

Begin with `letters` (what a dead letter is) and `actions` (replay and discard).
"""
