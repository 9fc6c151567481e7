"""The output stage: content rules, PII and prompt leaks, format validation before any user sees an answer."""
