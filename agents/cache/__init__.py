"""The cache stage: renders the prompt, and answers from an earlier answer where that is right.

Begin with `stage`. `slot` says which requests may share an answer; `veto` refuses questions whose answer
changes with time, and similar ones that have another answer.
"""
