"""The output check of a whole answer: the streaming check, fed everything at once."""

from collections.abc import Sequence

from agents.output.prompt_leak import ProtectedPrompt
from agents.output.streaming_guard import StreamingGuard
from agents.output.verdict import BANNED, DEFAULT_POLICY, BannedRule, Flag, OutputPolicy, OutputVerdict

__all__ = ["BANNED", "DEFAULT_POLICY", "BannedRule", "Flag", "OutputPolicy", "OutputVerdict", "check_output"]


def check_output(
    text: str,
    *,
    system_prompt: str = "",
    user_text: str = "",
    secrets: Sequence[str] = (),
    policy: OutputPolicy = DEFAULT_POLICY,
    finish_reason: str | None = None,
) -> OutputVerdict:
    """Return the verdict on an answer.

    Args:
        text: The answer as the model gave it.
        system_prompt: The system prompt or template text that must not be repeated.
        user_text: The user's own message: personal data and passages in it may be repeated.
        secrets: Literal strings that must not appear.
        policy: What blocks and what is redacted.
        finish_reason: The provider's; `length` sets the flag `truncated`.
    """
    prompt = ProtectedPrompt(system_prompt, quotable=user_text, leak_chars=policy.leak_chars)
    guard = StreamingGuard(policy=policy, prompt=prompt, secrets=secrets, user_text=user_text)
    return guard.finish(text, finish_reason=finish_reason)[1]
