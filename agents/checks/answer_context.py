"""What an answer is checked against: the instructions it must not repeat, and the user's own words."""

import msgspec

from agents.checks.output_policy import DEFAULT_POLICY, OutputPolicy
from agents.checks.streaming_guard import StreamingGuard
from agents.prompts.catalogue import PromptCatalogue
from streams.events import Envelope, Message

_INSTRUCTING_ROLES = frozenset({"system", "developer"})


class AnswerContext(msgspec.Struct, frozen=True, kw_only=True):
    """The texts that an answer is checked against.

    Attributes:
        instructions: must not be repeated.
        user_text: may be repeated.
    """

    instructions: str
    user_text: str

    def streaming_guard(self, policy: OutputPolicy = DEFAULT_POLICY) -> StreamingGuard:
        """Return a guard for one answer while it is being written."""
        return StreamingGuard(policy=policy, instructions=self.instructions, user_text=self.user_text)


def answer_context(
    envelope: Envelope, messages: tuple[Message, ...], prompts: PromptCatalogue
) -> AnswerContext:
    """Return what the answer to a request is checked against, streamed or whole."""
    template = prompts.version(envelope.prompt) if envelope.prompt else None
    instructions = [template.instructions] if template else []
    instructions += [message.text for message in messages if message.role in _INSTRUCTING_ROLES]
    request = envelope.request
    if request.messages is None:
        said = [request.query or "", *(request.variables or {}).values()]
    else:
        said = [message.text for message in messages if message.role not in _INSTRUCTING_ROLES]
    return AnswerContext(instructions="\n".join(instructions), user_text="\n".join(said))
