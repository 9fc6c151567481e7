"""Feedback: from `llm.feedback.v1` into `scores`."""
