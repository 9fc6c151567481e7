"""The guardrail stage: size limits, injection rules and PII redaction before any model sees a request."""
