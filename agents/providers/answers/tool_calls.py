"""Tool calls from their pieces, by whichever of index, id and name a server sends."""

import json
from typing import Any

from agents.providers.answers import json_fields
from agents.providers.answers.encodable import encodable, encodable_escapes
from agents.providers.faults import Malformed

_PIECE_CHARS = 4  # that there is a piece counts, too
_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class ToolCall:
    """One tool call while it comes. `arguments` are text, of which halves of characters may be apart."""

    def __init__(self, call_id: str = "", name: str = "") -> None:
        self.id = call_id
        self.name = name
        self._pieces: list[str] = []
        self._given = False

    @property
    def begun(self) -> bool:
        """Whether arguments have come."""
        return bool(self._pieces)

    @property
    def arguments(self) -> str:
        """What has come of them."""
        return "".join(self._pieces)

    def add(self, arguments: object) -> None:
        """Take the next piece of the arguments, or all of them as an object."""
        if self._given:
            self._pieces, self._given = [], False
        if not isinstance(arguments, dict | list):
            piece = json_fields.text(arguments, "arguments")
            self._pieces += [piece] if piece else []
        elif self.begun and self.arguments.strip() not in {"", "{}"}:
            raise Malformed("the arguments of a tool call came in pieces and then as an object")
        else:
            self._pieces = [_compact.encode(arguments)]

    def begin_with(self, arguments: object) -> None:
        """Take arguments that the beginning of a call names whole; where pieces follow, the pieces count."""
        self.add(arguments)
        self._given = True

    def is_whole(self) -> bool:
        """Tell whether the arguments are a JSON object that is complete."""
        try:
            return (
                self.begun
                and self._pieces[-1].rstrip().endswith("}")
                and isinstance(json.loads(self.arguments), dict)
            )
        except (ValueError, RecursionError):
            return False


class ToolPieces:
    """Puts tool calls together.

    OpenAI gives each call an index, an id and a name once, and then pieces of arguments under the index.
    Others leave the index out, give all calls the same one, repeat id and name with every piece, or send
    whole calls without ids.
    """

    def __init__(self, calls: list[ToolCall]) -> None:
        self._calls = calls
        self._by_index: dict[int, ToolCall] = {}

    def feed(self, piece: dict[str, Any]) -> None:
        """Take the next piece: an object with `index`, `id` and `function`, as far as they are there."""
        function = json_fields.record(piece.get("function"), "function")
        call_id, name = json_fields.short(piece.get("id")), json_fields.text(function.get("name"), "name")
        index = json_fields.number(piece.get("index"))
        arguments = function.get("arguments")
        call = self._open(index, call_id)
        if call is not None and _begins_another(call, index, call_id, name, arguments):
            call = None
        if call is None:
            call = ToolCall(call_id)
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        repeated = name == call.name and (bool(call_id) or call.begun)
        call.id = call.id or call_id
        call.name = call.name if repeated else call.name + name
        call.add(arguments)

    def _open(self, index: int | None, call_id: str) -> ToolCall | None:
        """Return the call that has a piece's index, or its id, or that came last."""
        if index is not None:
            return self._by_index.get(index)
        by_id = (each for each in self._calls if call_id and each.id == call_id)
        return next(by_id, self._calls[-1] if self._calls else None)


def _begins_another(call: ToolCall, index: int | None, call_id: str, name: str, arguments: object) -> bool:
    """Tell whether a piece that seems to belong to a call begins another one: it has a name of its own."""
    if not name:
        return False
    if call_id and call.id:
        differs = call.id != call_id
        return differs and (name != call.name or not call.begun or call.is_whole())
    return not call_id and call.is_whole() and (index is None or bool(arguments))


def piece_size(piece: object) -> int:
    """Return how much a piece of a tool call, or of its arguments, adds to the answer, roughly."""
    if isinstance(piece, str):
        return len(piece) + _PIECE_CHARS
    return sum(piece_size(each) for each in piece.values()) if isinstance(piece, dict) else _PIECE_CHARS


def as_openai(calls: list[ToolCall], call_id: str) -> tuple[dict[str, Any], ...]:
    """Return tool calls in OpenAI's shape, each with an id that no other has, and ``{}`` for no arguments.

    Ids that the provider leaves out are made of `call_id`, that of the call to it.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, call in enumerate(calls):
        if not call.name:
            raise Malformed("the answer has a tool call without a name")
        minted = f"call_{call_id.replace('-', '')}_{number}"
        own = minted if not call.id or call.id in found else call.id
        found[own] = _openai_shape(own, call.name, call.arguments if call.arguments.strip() else "{}")
    return tuple(found.values())


def partial(calls: list[ToolCall]) -> tuple[dict[str, Any], ...]:
    """Return what has come of tool calls, to be counted."""
    return tuple(_openai_shape(call.id, call.name, call.arguments) for call in calls)


def _openai_shape(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": encodable(name), "arguments": encodable_escapes(encodable(arguments))}
    return {"id": call_id, "type": "function", "function": function}
