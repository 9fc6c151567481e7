"""Prompt templates, their versions, and the experiments that choose between them."""
