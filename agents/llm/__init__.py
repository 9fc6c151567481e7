"""The LLM stage: from a rendered prompt to a model's answer.

Begin with `stage`. `agents.paid_calls` makes the calls. A request that is delivered twice: the table in
`agents.stores.journal`.
"""
