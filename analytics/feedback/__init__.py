"""Feedback: from `llm.feedback.v1` into scores.

Begin with `consumer`; `pending_feedback` holds what waits for its request.
"""
