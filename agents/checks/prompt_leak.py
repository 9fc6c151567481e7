"""Leaks of the system prompt: a run of its words repeated in the answer, followed word by word.

Words are compared without case and without what stands between them, so quoting, bullets, line breaks or
added punctuation hide nothing. A run that the user's own message holds too is a quotation, no leak.
"""

from bisect import bisect_left
from dataclasses import dataclass

import regex

# Scripts written without blanks: each character is a word of its own, and weighs as much as a short one.
_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = regex.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_WORD_REST = regex.compile(rf"[^\W_{_CJK}]*")
_CJK_CHAR = regex.compile(rf"[{_CJK}]")
_CJK_WEIGHT = 3

_MAX_PROMPT_TOKENS = 4_000
_MIN_TOKENS = 6
"""Fewer words than this in a row say nothing, and a prompt shorter than this holds nothing to leak."""
_SHORT_PROMPT_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class _MatchedRun:
    start: int
    weight: int
    tokens: int


class LeakTracker:
    """Follows an answer, in whatever chunks it comes, and says where a leak begins or may have begun.

    The first 4,000 words of `prompt` count. The answer may repeat what is `quotable`: the user's message.
    `leak_at` is where the first leak begins (characters from the start of the answer), once there is one.
    """

    def __init__(self, prompt: str, *, quotable: str = "", leak_chars: int = 48) -> None:
        self._tokens = _tokens(prompt)[:_MAX_PROMPT_TOKENS]
        total = sum(map(_weight, self._tokens))
        self._threshold = min(leak_chars, int(_SHORT_PROMPT_SHARE * total))
        self._active = len(self._tokens) >= _MIN_TOKENS
        self._positions: dict[str, list[int]] = {}
        for position, token in enumerate(self._tokens):
            self._positions.setdefault(token, []).append(position)
        self._sorted = sorted(self._positions)
        self._quotable = f" {' '.join(_tokens(quotable))} "
        self._runs: dict[int, _MatchedRun] = {}
        self._carry = ""
        self._carry_at = 0
        self._inside_other_word = False
        self.leak_at: int | None = None

    def feed(self, chunk: str) -> None:
        """Take the next piece of the answer."""
        if not self._active:
            return
        text, at = self._carry + chunk, self._carry_at
        position = self._skip_other_word(text)
        for match in _TOKEN.finditer(text, position):
            if match.end() == len(text):
                break
            self._take(match[0].casefold(), at + match.start())
            position = match.end()
        tail = _TOKEN.search(text, position)
        keep = tail.start() if tail else len(text)
        self._carry, self._carry_at = text[keep:], at + keep
        if self._carry and not self._may_continue():
            self._runs.clear()
            self._inside_other_word = not _CJK_CHAR.fullmatch(self._carry)
            self._carry_at += len(self._carry)
            self._carry = ""

    def finish(self) -> None:
        """Take the end of the answer: its last word is complete."""
        if self._carry:
            self._take(self._carry.casefold(), self._carry_at)
            self._carry = ""

    def hold_from(self) -> int | None:
        """Return the first character that may still turn out to belong to a leak; None if there is none."""
        if self.leak_at is not None:
            return None
        fragment = self._carry.casefold()
        starts = [
            run.start
            for at, run in self._runs.items()
            if at < len(self._tokens) and self._tokens[at].startswith(fragment)
        ]
        if starts:
            return min(starts)
        return self._carry_at if fragment else None

    def _may_continue(self) -> bool:
        """Whether some word of the prompt begins with the last fragment of the answer."""
        fragment = self._carry.casefold()
        index = bisect_left(self._sorted, fragment)
        return index < len(self._sorted) and self._sorted[index].startswith(fragment)

    def _is_leak(self, end: int, run: _MatchedRun) -> bool:
        """Whether the run up to word `end` of the prompt is a leak: long, and no quotation."""
        if run.weight < self._threshold or run.tokens < _MIN_TOKENS:
            return False
        words = " ".join(self._tokens[end - run.tokens : end])
        return f" {words} " not in self._quotable

    def _skip_other_word(self, text: str) -> int:
        """Return where the next word may begin, when the answer stands inside one that cannot match."""
        if not self._inside_other_word:
            return 0
        rest = _WORD_REST.match(text)
        end = rest.end() if rest else 0
        self._inside_other_word = end == len(text)
        return end

    def _take(self, token: str, start: int) -> None:
        runs: dict[int, _MatchedRun] = {}
        for position in self._positions.get(token, ()):
            previous = self._runs.get(position, _MatchedRun(start, 0, 0))
            run = _MatchedRun(previous.start, previous.weight + _weight(token), previous.tokens + 1)
            runs[position + 1] = run
            if self.leak_at is None and self._is_leak(position + 1, run):
                self.leak_at = run.start
        self._runs = runs


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(match[0].casefold() for match in _TOKEN.finditer(text))


def _weight(token: str) -> int:
    return _CJK_WEIGHT if _CJK_CHAR.fullmatch(token) else len(token)
