"""Dead letters as text for people and as JSON for scripts. What strangers wrote cannot steer a terminal."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.cells import cell_len, set_cell_size

from headrace.ops.dlq.desk import Result
from headrace.ops.dlq.letters import DeadRecord, Letter
from headrace.ops.dlq.selection import Found, Kind
from streams.events import DeadLetterAction

_MESSAGE_CHARS = 60
_NAME_CHARS = 40


def printable(text: str) -> str:
    """Return `text` with everything that is no visible character escaped: control characters most of all."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters."""
    line = printable(text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def letters_table(letters: Sequence[Found]) -> str:
    """Return the list of letters, one line each, whatever the width of the terminal."""
    rows = [
        (
            str(each.letter.place),
            _seconds(each.letter.written_at),
            each.standing.state.value,
            str(each.replays),
            shortened(each.letter.stage, _NAME_CHARS),
            shortened(each.letter.exception, _NAME_CHARS),
            shortened(each.letter.topic or "", _NAME_CHARS),
            shortened(each.letter.request_id or "", _NAME_CHARS),
            shortened(each.letter.message, _MESSAGE_CHARS),
        )
        for each in letters
    ]
    titles = ("id", "died at", "state", "replays", "stage", "exception", "topic", "request", "message")
    return _aligned(titles, *rows)


def kinds_table(kinds: Sequence[Kind]) -> str:
    """Return how many letters there are of each kind."""
    rows = [
        (
            str(kind.letters),
            shortened(kind.stage, _NAME_CHARS),
            shortened(kind.exception, _NAME_CHARS),
            _seconds(kind.oldest_at),
            _seconds(kind.newest_at),
        )
        for kind in kinds
    ]
    return _aligned(("letters", "stage", "exception", "oldest", "newest"), *rows)


def _aligned(*rows: Sequence[str]) -> str:
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(set_cell_size, row, widths)).rstrip() for row in rows)
    return "".join(line + "\n" for line in lines)


def letter_document(found: Found) -> dict[str, Any]:
    """Return a letter of a list for JSON."""
    letter = found.letter
    return {
        "id": str(letter.place),
        "died_at": letter.written_at.isoformat(),
        "state": found.standing.state.value,
        "replays": found.replays,
        "stage": letter.stage,
        "exception": letter.exception,
        "message": letter.message,
        "topic": letter.topic,
        "record": letter.record,
        "request_id": letter.request_id,
        "tenant": letter.tenant,
        "key_bytes": letter.key_bytes,
        "value_bytes": letter.value_bytes,
    }


def kind_document(kind: Kind) -> dict[str, Any]:
    """Return a kind of letters for JSON."""
    return {
        "stage": kind.stage,
        "exception": kind.exception,
        "letters": kind.letters,
        "oldest": kind.oldest_at.isoformat(),
        "newest": kind.newest_at.isoformat(),
    }


def page(found: Found, dead: DeadRecord, history: Sequence[DeadLetterAction]) -> str:
    """Return everything about one dead letter, for people."""
    letter = found.letter
    facts = {
        "id": str(letter.place),
        "state": found.standing.state.value,
        "died at": letter.written_at.isoformat(),
        "stage": letter.stage,
        "exception": letter.exception,
        "message": letter.message,
        "topic": letter.topic or "",
        "record": letter.record or "",
        "request": letter.request_id or "",
        "tenant": letter.tenant or "",
        "replays": str(found.replays),
        "key": "none" if dead.key is None else _bytes_line(dead.key),
    }
    lines = [f"{name:<10} {printable(text)}" for name, text in facts.items()]
    lines += ["", f"headers ({len(dead.headers)})"]
    lines += [f"  {printable(name)}: {_bytes_line(value)}" for name, value in dead.headers]
    lines += ["", f"value ({_size(letter)})", *_value_lines(dead.value)]
    lines += ["", "history", *[f"  {_history_line(action)}" for action in history]]
    return "\n".join(lines if history else [*lines, "  nothing was done with it yet"]) + "\n"


def page_document(found: Found, dead: DeadRecord, history: Sequence[DeadLetterAction]) -> dict[str, Any]:
    """Return everything about one dead letter, for JSON. Bytes that are no text are in base64."""
    return letter_document(found) | {
        "key": _bytes_document(dead.key),
        "headers": [{"name": name, "value": _bytes_document(value)} for name, value in dead.headers],
        "value": _bytes_document(dead.value),
        "history": [
            {"action": each.action, "by": each.by, "at": each.at.isoformat(), "reason": each.reason}
            for each in history
        ],
    }


def result_line(result: Result) -> str:
    """Return what came of one letter, for people."""
    number = f" as replay {result.number}" if result.number is not None else ""
    request = result.letter.request_id if result.letter else None
    told = f"  request {request}" if request else ""
    detail = f" {result.detail}" if result.outcome.good and result.detail else ""
    why = f": {result.detail}" if not result.outcome.good else ""
    return printable(f"{result.place}  {result.outcome.value}{detail}{number if detail else ''}{why}{told}")


def result_document(result: Result) -> dict[str, Any]:
    """Return what came of one letter, for JSON."""
    sent = result.sent_to
    return {
        "id": str(result.place),
        "outcome": result.outcome.value.replace(" ", "_"),
        "detail": result.detail,
        "request_id": result.letter.request_id if result.letter else None,
        "replay": result.number,
        "sent_to": f"{sent.topic}:{sent.partition}:{sent.offset}" if sent else None,
    }


def _seconds(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def _size(letter: Letter) -> str:
    return "none" if letter.value_bytes is None else f"{letter.value_bytes:,} bytes"


def _value_lines(value: bytes | None) -> list[str]:
    """Return JSON indented, other text as it is, and anything else escaped."""
    if value is None:
        return []
    try:
        text = msgspec.json.format(value, indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = _escaped(value)
    return [f"  {printable(line)}" for line in text.split("\n")]


def _escaped(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "".join(chr(each) if 0x20 <= each < 0x7F else f"\\x{each:02x}" for each in value)


def _bytes_line(value: bytes) -> str:
    return printable(_escaped(value))


def _bytes_document(value: bytes | None) -> dict[str, str] | None:
    if value is None:
        return None
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _history_line(action: DeadLetterAction) -> str:
    reason = f": {action.reason}" if action.reason else ""
    return printable(f"{_seconds(action.at)}  {action.action} by {action.by}{reason}")
