"""A provider that answers like OpenAI and Anthropic over HTTP, and says that it is simulated.

Begin with `app`, the paths; `endpoint` serves one call: checks, faults, timing, the reply, the bill.
`behaviour` has what an operator can set, and applies it call by call.
"""
