"""The guardrail stage: takes a request in, checks its limits, blocks injections, redacts personal data.

Begin with `stage`. The checks themselves are in `agents/checks/`, because other stages use them too.
"""
