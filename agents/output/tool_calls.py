"""The output check of tool calls: their texts are checked and redacted like an answer."""

from typing import Any

from agents.checks import pii
from agents.checks.json_texts import Redact, TextWalk, texts_of
from agents.checks.output_policy import OutputPolicy

ToolCalls = tuple[dict[str, Any], ...]

#: The tool's result names the call by it.
_KEPT = frozenset({"tool_calls[].id"})


def said_in(calls: ToolCalls) -> str:
    """Return the texts of the calls, both as they were written and as their readers decode them."""
    return "\n".join(text for call in calls for text in _texts(call))


def _texts(call: dict[str, Any]) -> list[str]:
    function = call.get("function") or {}
    written = str(function.get("arguments") or "")
    return [written, *texts_of(call, kept=_KEPT, path="tool_calls[]")]


def redacted(calls: ToolCalls, redact: Redact) -> tuple[ToolCalls, tuple[str, ...]]:
    """Return the calls without personal data (their arguments are still JSON), and the types found."""
    walk = TextWalk(redact, kept=_KEPT)
    return walk.value(calls, "tool_calls"), walk.types


def redaction_by(policy: OutputPolicy, *, user_text: str) -> Redact:
    """Return a function that replaces the types of a policy, except values that the user wrote."""
    own = {pii.canonical(user_text[span.start : span.end]) for span in pii.find(user_text)}

    def redact(text: str) -> pii.Redaction:
        spans = [
            span
            for span in pii.find(text)
            if span.type in policy.redact_pii and pii.canonical(text[span.start : span.end]) not in own
        ]
        return pii.without(text, spans)

    return redact
