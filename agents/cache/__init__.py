"""The cache stage: renders the prompt, and answers from an earlier answer where that is right.

Begin with `stage`. `slot` says which requests may share an answer; `veto` and `time_dependence` refuse
similar questions that have another answer.
"""
