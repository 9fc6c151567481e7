"""Checks that several stages share: personal data, injections, answers while they are written, formats.

Begin with `pii` for requests and `answer_guard` for answers; `output_policy` has the rules for answers,
`injection/` those for requests.
"""
