"""`/v1/feedback`: what users, reviewers and judges think of an answer.

Begin with `routes`.
"""
