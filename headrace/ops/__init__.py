"""Tools for operators: the audit, dead letters, erasure of a user.

Begin with `audit.auditor`. All of them read Kafka through `topic_reader`.
"""
