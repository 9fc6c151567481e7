"""What a simulated model says: words, JSON or tool calls, as a function of the seed and the request.

Begin with `chat_task.py`, what either API asks of a model; `generate.py` answers it.
"""
