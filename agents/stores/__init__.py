"""What the stages keep in Redis: the journal of provider calls, and the cache of answers.

Begin with `journal` (what happens to a request that is delivered twice) or `answer_cache`. The `*_scripts`
are their steps in Lua.
"""
