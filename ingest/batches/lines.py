"""The lines of a batch in OpenAI's batch input format, each checked as the route that it names checks it.

The file is held as the bytes that came. Lines are decoded one at a time, first to check them all and then
again to submit them: all of them decoded would take several times the memory.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ingest.errors import as_api_error
from ingest.native.schema import SubmitBody, native_request
from ingest.openai.chat_schema import completion_request, decode_completion
from ingest.submit.http_message import decode_body
from ingest.submit.submission import check_request
from streams.control.catalogue import ModelCatalogue
from streams.errors import InvalidRequest
from streams.events import ChatRequested
from streams.registry.registry import fingerprint
from streams.request_rules.faults import has_control_character
from streams.request_rules.sent_requests import HINTS
from streams.serving.api_keys import Caller
from streams.serving.responses import ApiError, invalid
from streams.settings import Settings

MAX_BATCH_LINES = 10_000
MAX_BATCH_BYTES = 32 * 1024 * 1024
#: The lines of a batch queue behind each other, so they have longer than a request that somebody waits for.
DEFAULT_DEADLINE_MS = 3_600_000

_MAX_FAULTS_SHOWN = 20
_MAX_FAULT_CHARS = 200
#: Other requests get their turn after so many lines, or bytes: about 10 ms of work.
_LINES_A_TURN = 64
_BYTES_A_TURN = 512 * 1024
_BOM = b"\xef\xbb\xbf"  # some editors on Windows begin files with it
_LINE_HINTS = {"input_file_id": "there are no files here, send the lines themselves as the body"}

Url = Literal["/v1/chat/completions", "/v1/requests"]
CustomId = Annotated[str, Meta(min_length=1, max_length=128)]


class LineBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line as it is sent."""

    custom_id: CustomId
    method: Literal["POST"]
    url: Url
    body: msgspec.Raw


@dataclass(frozen=True, kw_only=True)
class LineRules:
    """What holds for every line of a batch; the HTTP headers' values are for lines that say nothing else."""

    settings: Settings
    catalogue: ModelCatalogue
    caller: Caller
    user: str | None = None
    deadline_ms: int | None = None
    cache: str | None = None


class LineName(Struct, frozen=True, array_like=True):
    """What is remembered of a line: its name, and which route's words it uses."""

    custom_id: str
    url: Url


class Line(Struct, frozen=True):
    """A checked line."""

    name: LineName
    request: ChatRequested
    deadline_ms: int


@dataclass(frozen=True)
class CheckedFile:
    """A file in which every line is valid."""

    data: bytes
    rules: LineRules
    spans: Sequence[slice]
    names: tuple[LineName, ...]
    digest: str  # the same for files that ask the same under the same names, however they are written

    def lines(self) -> Iterator[Line]:
        """Decode the lines, one at a time."""
        return (_read_line(self.data[span], self.rules) for span in self.spans)


async def check_file(data: bytes, rules: LineRules, *, tenant: str) -> CheckedFile:
    """Check every line of a file; 400 where there are none, too many, or wrong ones.

    The message names the first wrong lines, and `param` the first one's field, e.g. `line 17.body.model`.
    """
    spans = _spans(data)
    names: dict[str, LineName] = {}
    faults: list[tuple[int, ApiError]] = []
    digest, since_turn = hashlib.sha256(), 0
    for number, span in enumerate(spans, start=1):
        try:
            line = _read_line(data[span], rules)
            if line.name.custom_id in names:
                raise invalid("custom_id is that of an earlier line: each needs its own", param="custom_id")
            names[line.name.custom_id] = line.name
            asked = (line.name.custom_id, line.name.url, fingerprint(line.request, tenant))
            digest.update(msgspec.json.encode(asked))
        except (ApiError, InvalidRequest) as fault:
            faults.append((number, as_api_error(fault)))
        since_turn += span.stop - span.start
        if number % _LINES_A_TURN == 0 or since_turn > _BYTES_A_TURN:
            since_turn = 0
            await asyncio.sleep(0)
    if faults:
        raise _summary(faults, len(spans))
    return CheckedFile(data, rules, spans, tuple(names.values()), digest.hexdigest())


def _summary(faults: Sequence[tuple[int, ApiError]], lines: int) -> ApiError:
    """Return the error for the whole file, from its wrong lines."""
    shown = [
        f"line {at}: {fault.error.message[:_MAX_FAULT_CHARS]}" for at, fault in faults[:_MAX_FAULTS_SHOWN]
    ]
    more = [f"and {len(faults) - len(shown)} more"] if len(faults) > len(shown) else []
    told = "; ".join(shown + more)
    number, first = faults[0]
    return invalid(
        f"nothing was accepted, {len(faults)} of {lines} lines are wrong: {told}",
        param=f"line {number}.{first.error.param}" if first.error.param else f"line {number}",
        code=first.error.code,
    )


def _spans(data: bytes) -> list[slice]:
    start, end = (len(_BOM) if data.startswith(_BOM) else 0), len(data.rstrip())
    if start >= end:
        raise invalid("the body has no lines: send one JSON object a line, one line a request")
    count = data.count(b"\n", start, end) + 1
    if count > MAX_BATCH_LINES:
        raise invalid(f"a batch has at most {MAX_BATCH_LINES} lines, this one has {count}: split it")
    spans = []
    for _ in range(count):
        stop = data.find(b"\n", start, end)
        stop = end if stop < 0 else stop
        spans.append(slice(start, stop))
        start = stop + 1
    return spans


def _read_line(data: bytes, rules: LineRules) -> Line:
    longest = rules.settings.max_body_bytes
    if len(data) > longest:
        raise invalid(f"it has {len(data)} bytes; at most {longest} are allowed", code="request_too_large")
    if not data.strip():
        raise invalid("it is empty", code="invalid_json")
    line = decode_body(data, LineBody, hints=_LINE_HINTS)
    if has_control_character(line.custom_id):
        words = "custom_id: line ends and other control characters are not allowed"
        raise invalid(words, param="custom_id", code="invalid_value")
    try:
        request = _request(line, rules)
        if request.headrace_cache is None:
            request = msgspec.structs.replace(request, headrace_cache=rules.cache)
        check_request(request, rules.settings, rules.catalogue)
    except (ApiError, InvalidRequest) as fault:
        error = as_api_error(fault).error
        param = f"body.{error.param}" if error.param else "body"
        raise invalid(error.message, param=param, code=error.code) from None
    deadline_ms = request.deadline_ms or rules.deadline_ms or DEFAULT_DEADLINE_MS
    return Line(LineName(line.custom_id, line.url), request, deadline_ms)


def _request(line: LineBody, rules: LineRules) -> ChatRequested:
    data = bytes(line.body)
    if line.url == "/v1/requests":
        request = native_request(decode_body(data, SubmitBody, hints=HINTS))
    else:
        sent = decode_completion(data, rules.settings.extra_parameters)
        streams = bool(sent.body.stream)
        request = completion_request(sent, user_header=rules.user, stream=streams, deadline_ms=None)
    if request.stream:
        raise invalid("a line of a batch cannot be streamed: leave stream out", param="stream")
    return msgspec.structs.replace(request, user_id=rules.caller.speaks_for(request.user_id))
