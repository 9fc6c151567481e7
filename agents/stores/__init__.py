"""What the stages keep in Redis: the journal of provider calls, and the cache of answers.

Begin with `journal`; the `*_scripts` are the steps as Lua.
"""
