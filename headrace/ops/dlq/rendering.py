"""Dead letters as text for people and as JSON documents for scripts."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from agents.stage import Record, instant
from headrace.ops.dlq.actions import ActionResult
from headrace.ops.dlq.reader import FaultGroup, ListedLetter
from headrace.ops.terminal_text import aligned, printable, shortened
from streams.events import DeadLetterAction

_MESSAGE_CHARS = 60
_NAME_CHARS = 40
#: The columns of a list, and the fields of a letter's document that they show.
_LETTER_COLUMNS = {
    name.removesuffix("_id").replace("_", " "): name
    for name in "id died_at state replays stage exception topic request_id message".split()
}
_LETTER_FIELDS = "stage exception message topic record request_id tenant key_bytes value_bytes".split()
_GROUP_COLUMNS = {name: name for name in ("letters", "stage", "exception", "oldest", "newest")}


def letter_document(listed: ListedLetter) -> dict[str, Any]:
    """Return a letter of a list for JSON."""
    letter = listed.letter
    return {
        "id": str(letter.letter_id),
        "died_at": letter.died_at.isoformat(),
        "state": listed.state.status.value,
        "replays": listed.replays,
        **{name: getattr(letter, name) for name in _LETTER_FIELDS},
    }


def group_document(group: FaultGroup) -> dict[str, Any]:
    """Return how many letters there are of one fault, for JSON."""
    return {
        "stage": group.stage,
        "exception": group.exception,
        "letters": group.letters,
        "oldest": instant(group.oldest_ms).isoformat(),
        "newest": instant(group.newest_ms).isoformat(),
    }


def letters_table(letters: Sequence[ListedLetter]) -> str:
    """Return a list of letters, one line each."""
    return _table(_LETTER_COLUMNS, [letter_document(each) for each in letters])


def groups_table(groups: Sequence[FaultGroup]) -> str:
    """Return how many letters there are of each fault, one line each."""
    return _table(_GROUP_COLUMNS, [group_document(each) for each in groups])


def _table(columns: Mapping[str, str], documents: Sequence[Mapping[str, Any]]) -> str:
    cells = ([_cell(field, document[field]) for field in columns.values()] for document in documents)
    return aligned([list(columns), *cells])


def _cell(field: str, value: object) -> str:
    if field in ("died_at", "oldest", "newest"):
        return _seconds(datetime.fromisoformat(str(value)))
    text = "" if value is None else str(value)
    return shortened(text, _MESSAGE_CHARS if field == "message" else _NAME_CHARS)


def letter_page(listed: ListedLetter, dead: Record, history: Sequence[DeadLetterAction]) -> str:
    """Return everything about one dead letter, for people."""
    document = letter_document(listed) | {"key": "none" if dead.key is None else _escaped(dead.key)}
    names = "id state died_at stage exception message topic record request_id tenant replays key".split()
    facts = {name.removesuffix("_id").replace("_", " "): document[name] for name in names}
    lines = [f"{name:<10} {printable(str('' if fact is None else fact))}" for name, fact in facts.items()]
    lines += ["", f"headers ({len(dead.headers)})"]
    lines += [f"  {printable(name)}: {printable(_escaped(value))}" for name, value in dead.headers]
    size = "none" if dead.value is None else f"{len(dead.value):,} bytes"
    lines += ["", f"value ({size})", *_value_lines(dead.value), "", "history"]
    lines += [f"  {_history_line(action)}" for action in history] or ["  nothing was done with it yet"]
    return "\n".join(lines) + "\n"


def page_document(listed: ListedLetter, dead: Record, history: Sequence[DeadLetterAction]) -> dict[str, Any]:
    """Return everything about one dead letter, for JSON. Bytes that are not UTF-8 are in base64."""
    return letter_document(listed) | {
        "key": _bytes_document(dead.key),
        "headers": [{"name": name, "value": _bytes_document(value)} for name, value in dead.headers],
        "value": _bytes_document(dead.value),
        "history": [
            {"action": each.action, "by": each.by, "at": each.at.isoformat(), "reason": each.reason}
            for each in history
        ],
    }


def result_line(result: ActionResult) -> str:
    """Return what came of one letter, for people."""
    request = result.letter.request_id if result.letter else None
    told = f"  request {request}" if request else ""
    detail = ""
    if result.detail:
        number = f" as replay {result.number}" if result.number is not None else ""
        detail = f" {result.detail}{number}" if result.outcome.good else f": {result.detail}"
    return printable(f"{result.letter_id}  {result.outcome.value}{detail}{told}")


def result_document(result: ActionResult) -> dict[str, Any]:
    """Return what came of one letter, for JSON."""
    sent = result.sent_to
    return {
        "id": str(result.letter_id),
        "outcome": result.outcome.value.replace(" ", "_"),
        "detail": result.detail,
        "request_id": result.letter.request_id if result.letter else None,
        "replay": result.number,
        "sent_to": f"{sent.topic}:{sent.partition}:{sent.offset}" if sent else None,
    }


def _seconds(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def _value_lines(value: bytes | None) -> list[str]:
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
