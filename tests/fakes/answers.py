"""The verdict on a whole answer, as the output stage takes it."""

from agents.checks.answer_guard import StreamingGuard
from agents.checks.output_policy import DEFAULT_POLICY, AnswerVerdict, OutputPolicy


def check_answer(
    text: str,
    *,
    policy: OutputPolicy = DEFAULT_POLICY,
    instructions: str = "",
    user_text: str = "",
    finish_reason: str | None = None,
) -> AnswerVerdict:
    """Return the verdict on a whole answer; given at once."""
    guard = StreamingGuard(policy=policy, instructions=instructions, user_text=user_text)
    return guard.finish(text, finish_reason=finish_reason)[1]
