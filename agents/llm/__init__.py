"""The LLM stage: from a rendered prompt to a model's answer."""
