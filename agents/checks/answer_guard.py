"""Checks an answer, whole or while it is written: what may be published now, and the verdict.

    guard = StreamingGuard(user_text="My SSN is 078-05-1120.")
    for chunk in chunks:
        publish(guard.feed(chunk))
    rest, verdict = guard.finish()

Text is decided from left to right, and a place only when no text to come could change the decision. Each
check says from where it cannot decide yet: banned phrases and personal data by a partial match of their
patterns against the end of the text, the prompt leak by the runs of words that it follows. What stands before
the first such place is final and is published.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import regex

from agents.checks import pii
from agents.checks.output_policy import (
    DEFAULT_POLICY,
    REFUSAL_CHARS,
    AnswerVerdict,
    BannedRule,
    OutputPolicy,
    flags_of,
)
from agents.checks.pii import PiiSpan
from agents.checks.pii_patterns import CONTEXT_CHARS, NEVER, hold
from agents.checks.prompt_leak import LeakTracker
from agents.prompts import PromptCatalogue
from streams.events import Envelope, Message

_KEEP_LEFT = 2 * CONTEXT_CHARS
_INSTRUCTING_ROLES = frozenset({"system", "developer"})
_PII_SIGNS = regex.compile(r"[\d@:]")


@dataclass(frozen=True, slots=True)
class _Block:
    at: int
    rule: str


class StreamingGuard:
    """Checks one answer as it is written.

    All offsets are characters from the start of the answer. The buffer holds what is unpublished, and some
    context on its left. The answer must not repeat `instructions`, the system prompt or template text.
    Personal data and passages in `user_text`, the user's own message, may be repeated.
    """

    def __init__(
        self, *, policy: OutputPolicy = DEFAULT_POLICY, instructions: str = "", user_text: str = ""
    ) -> None:
        self._policy = policy
        self._banned = _compiled(policy.banned) if policy.banned else None
        self._pii_hold = hold(policy.sought)
        self._leak = LeakTracker(instructions, quotable=user_text, leak_chars=policy.leak_chars)
        self._own = pii.values_in(user_text)
        self._text = ""  # as the model wrote it, from self._base on
        self._plain = ""  # the same as the detectors of personal data read it
        self._masked = ""  # that with what was recognised masked: the context of later numbers
        self._base = 0
        self._published = 0
        self._pii_from = 0
        self._beginning = ""
        self._parts: list[str] = []
        self._redactions: list[PiiSpan] = []
        self._block: _Block | None = None

    @property
    def blocked_by(self) -> str | None:
        """The rule that blocked the answer, as soon as there is one: nothing more will be released."""
        return self._block.rule if self._block else None

    def feed(self, chunk: str) -> str:
        """Take the next chunk and return the text that is safe to publish now (often a few letters less)."""
        self._append(chunk)
        return self._advance(final=False)

    def finish(self, last: str = "", *, finish_reason: str | None = None) -> tuple[str, AnswerVerdict]:
        """Take the end of the answer; return the rest to publish and the verdict on the whole."""
        self._append(last)
        if self._block is None:
            self._leak.finish()
        rest = self._advance(final=True)
        text = "".join(self._parts)
        flags = flags_of(self._beginning, empty=not self._beginning.strip(), finish_reason=finish_reason)
        return rest, AnswerVerdict(
            passed=self._block is None,
            rule=self.blocked_by,
            text=text,
            redactions=tuple(self._redactions),
            flags=flags,
        )

    def _append(self, chunk: str) -> None:
        if len(self._beginning) < REFUSAL_CHARS:
            self._beginning = (self._beginning + chunk)[:REFUSAL_CHARS]
        if self._block is not None:
            return
        self._text += chunk
        spelled = pii.plain(chunk)
        self._plain += spelled
        self._masked += spelled
        self._leak.feed(chunk)

    def _advance(self, *, final: bool) -> str:
        released: list[str] = []
        settled = False
        while self._block is None and not settled:
            before = self._published, self._pii_from
            text, settled = self._step(final=final)
            released.append(text)
            settled = settled or (self._published, self._pii_from) == before
        self._trim()
        self._parts += released
        return "".join(released)

    def _step(self, *, final: bool) -> tuple[str, bool]:
        """Decide what can be decided; return what that releases, and whether another step would find nothing.

        Only a span changes what is left to decide: what it covers is masked, and it may end after the limit.
        Without one, the next step would have the same limit, and nothing before it.
        """
        limit = self._undecided_from(final=final)
        found = self._spans()
        spans = [span for span in found if span.start < limit]
        block = min(self._blocks(spans, limit), key=lambda b: b.at, default=None)
        end = block.at if block else limit
        spans = [span for span in spans if span.start < end]
        crossing = next((span for span in spans if span.end > end), None)
        if crossing is not None:
            end = crossing.start
        self._block = block
        return self._publish(end, [span for span in spans if span.end <= end]), not found

    def _undecided_from(self, *, final: bool) -> int:
        """Return the first place about which text to come could still decide."""
        end = self._base + len(self._text)
        if final:
            return end
        holds = [self._partial(self._pii_hold, self._plain, self._pii_from), self._leak.hold_from()]
        if self._banned is not None:
            holds.append(self._partial(self._banned[0], self._text, self._published))
        return min((place for place in holds if place is not None), default=end)

    def _partial(self, hold: "regex.Pattern[str]", text: str, start: int) -> int | None:
        match = hold.search(text, start - self._base, partial=True)
        return self._base + match.start() if match else None

    def _spans(self) -> list[PiiSpan]:
        """Return the personal data after what is decided; offsets from the start of the answer."""
        start = self._pii_from - self._base
        if not _PII_SIGNS.search(self._plain, start):
            return []
        found = pii.scan(self._plain, self._masked, start=start, types=self._policy.sought)
        return [span.moved(self._base) for span in found]

    def _blocks(self, spans: Iterable[PiiSpan], limit: int) -> Iterable[_Block]:
        """Yield what blocks before `limit`, the strictest kind first (the first of equals wins)."""
        start = self._published - self._base
        if self._banned is not None and self._banned[1].search(self._text, start):
            for rule in self._policy.banned:
                match = rule.compiled.search(self._text, start)
                if match and match.start() + self._base < limit:
                    yield _Block(match.start() + self._base, rule.id)
        if self._leak.leak_at is not None and self._leak.leak_at < limit:
            yield _Block(self._leak.leak_at, "prompt_leak")
        for span in spans:
            if span.type in self._policy.block_pii and not self._users_own(span):
                yield _Block(span.start, f"pii.{span.type}")

    def _users_own(self, span: PiiSpan) -> bool:
        return pii.canonical(self._text[span.start - self._base : span.end - self._base]) in self._own

    def _publish(self, end: int, spans: Sequence[PiiSpan]) -> str:
        """Release up to `end`, with `spans` (all before it) redacted where the policy says so."""
        hidden = [s for s in spans if s.type in self._policy.redact_pii and not self._users_own(s)]
        start = self._published - self._base
        released = pii.replace(
            self._text[start : end - self._base], [span.moved(-self._published) for span in hidden]
        )
        self._masked = pii.mask(self._masked, [span.moved(-self._base) for span in spans])
        self._redactions += hidden
        self._published = end
        self._pii_from = max(self._pii_from, end)
        return released

    def _trim(self) -> None:
        surplus = self._published - self._base - _KEEP_LEFT
        if surplus > 0:
            self._text, self._plain = self._text[surplus:], self._plain[surplus:]
            self._masked = self._masked[surplus:]
            self._base += surplus


class AnswerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer is checked against: instructions that it must not repeat, and the user's own words."""

    instructions: str
    user_text: str

    def streaming_guard(self, policy: OutputPolicy = DEFAULT_POLICY) -> StreamingGuard:
        """Return a guard for one answer while it is being written."""
        return StreamingGuard(policy=policy, instructions=self.instructions, user_text=self.user_text)


def answer_context(
    envelope: Envelope, messages: tuple[Message, ...], prompts: PromptCatalogue
) -> AnswerContext:
    """Return what the answer to a request is checked against."""
    template = prompts.version(envelope.prompt) if envelope.prompt else None
    instructions = [template.instructions] if template else []
    instructions += [message.text for message in messages if message.role in _INSTRUCTING_ROLES]
    request = envelope.request
    if request.messages is None:
        said = [request.query or "", *(request.variables or {}).values()]
    else:
        said = [message.text for message in messages if message.role not in _INSTRUCTING_ROLES]
    return AnswerContext(instructions="\n".join(instructions), user_text="\n".join(said))


@lru_cache(maxsize=16)
def _compiled(rules: tuple[BannedRule, ...]) -> tuple["regex.Pattern[str]", "regex.Pattern[str]"]:
    """Return one pattern that holds back, and one that finds, what any of the rules does.

    One search for all of them: it runs for every token of every answer.
    """
    holds = "|".join(f"(?:{rule.pattern}){NEVER}" for rule in rules)
    finds = "|".join(f"(?:{rule.pattern})" for rule in rules)
    return regex.compile(holds, regex.IGNORECASE), regex.compile(finds, regex.IGNORECASE)
