"""Dead letters for operators: find them, read them, replay or discard them, and know who did what."""
