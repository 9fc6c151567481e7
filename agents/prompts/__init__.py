"""Prompt templates, their versions, and the experiments that choose between two versions.

Begin with `catalogue`, which holds the templates that ship with Headrace.
"""
