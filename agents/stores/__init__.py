"""What the stages keep in Redis: the journal of provider calls, and the cache of answers.

Begin with `journal` (what happens to a request that is delivered twice) or `answer_cache`. `journal_entries`
has the journal's values and its steps in Lua.
"""
