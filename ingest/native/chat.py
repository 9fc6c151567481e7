"""`POST /v1/chat`, how answers read on the native routes, and the chat page, which asks for a key itself."""

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import SenderDep
from ingest.errors import is_blocked_input, is_blocked_output, is_repeat
from ingest.follow.answer_cursor import StreamPosition, pieces
from ingest.follow.sse import DONE, StreamFormat, sse_event
from ingest.native.schema import ChatBody, native_request
from ingest.openai.chat_completions import headrace_extension
from ingest.openapi import ASKING, body_of
from ingest.services import ServicesDep
from ingest.submit.http_message import decode_body, read_body
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.events import ErrorInfo, Reply
from streams.registry.entries import plain, reply_view
from streams.request_rules.sent_requests import HINTS
from streams.serving.responses import PageFile, error_body, page_files, sender, to_json

router = APIRouter(tags=["chat"])
_RESET = sse_event({}, name="reset", event_id=StreamPosition().event_id)
#: How soon a client is to connect again, in ms.
_RETRY = b"retry: 1000\n\n"


@router.post("/v1/chat", openapi_extra=body_of(ChatBody), responses=ASKING)
async def chat(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Answer a query (with a prompt template) or a conversation."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    wanted = native_request(decode_body(data, ChatBody, hints=HINTS))
    prepared = await prepare(request, caller, wanted, services)
    stream = ChatStream(prepared.request_id) if wanted.stream else None
    return await answer(request, prepared, services, _render, stream=stream)


def _render(reply: Reply, latency_ms: float) -> dict[str, Any]:
    if is_blocked_input(reply):  # an answer on this route, not an error: its clients read `blocked`
        return {
            "request_id": reply.request_id,
            "blocked": True,
            "reason": reply.error.message if reply.error else "blocked by a guardrail",
            "code": reply.error.code if reply.error else None,
            "status": reply.status,
            "latency_ms": latency_ms,
            "cost_usd": plain(reply.cost_usd),
            "pii_detected": reply.pii_detected,
            "repeat": reply.repeat,
        }
    raise_for(reply)
    similarity = {} if reply.similarity is None else {"similarity": round(reply.similarity, 4)}
    return {
        "request_id": reply.request_id,
        "response": reply.content,
        "model": reply.model,
        "cache_hit": reply.cache_hit,
        "cache_kind": reply.cache_kind,
        "cache_age_s": reply.cache_age_s,
        **similarity,
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
        "usage_estimated": reply.usage.estimated,
        "latency_ms": latency_ms,
        "cost_usd": plain(reply.cost_usd),
        "pii_detected": reply.pii_detected,
        "guardrail_output_pass": not is_blocked_output(reply),
        "status": reply.status,
        "finish_reason": reply.finish_reason,
        "prompt": reply.prompt,
        "tools_used": reply.tools_used,
        "tool_calls": reply.tool_calls,
        "timings": reply.timings,
        "error": reply.error,
        "repeat": reply.repeat,
    }


class _TokenStream(StreamFormat):
    """Events with tokens and ids. The ids resume the answer at `/v1/requests/{id}/events`."""

    event_name: str | None = None

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def text(self, text: str, position: StreamPosition) -> bytes:
        """Return the tokens, several if there is much text at once."""
        events = []
        for piece in pieces(text):
            position.advance(piece)
            events.append(sse_event({"token": piece}, name=self.event_name, event_id=position.event_id))
        return b"".join(events)

    def reset(self) -> bytes | None:
        """Tell the client to drop what it has; the whole answer follows."""
        return _RESET


class ChatStream(_TokenStream):
    """The stream of `/v1/chat`: `data: {"token": …}` … `data: [DONE]`."""

    def finish(self, reply: Reply) -> bytes:
        """Return Headrace's own fields as a comment, and the end mark.

        Clients of this route take every event for a token, and skip comments. A repeat has an empty token
        with `repeat` before them.
        """
        repeat = sse_event({"token": "", "repeat": True}) if reply.repeat else b""
        return repeat + b": headrace " + to_json(headrace_extension(reply)) + b"\n\n" + DONE

    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the error; there is no end mark, because the answer is not complete."""
        return sse_event(error_body(error, self._request_id, repeat=is_repeat(reply)))


class RequestEvents(_TokenStream):
    """The stream of `/v1/requests/{id}/events`: `delta`, `reset`, `error`, `stage`, `done`."""

    event_name = "delta"

    def begin(self) -> bytes:
        """Return how soon to connect again after a drop."""
        return _RETRY

    def finish(self, reply: Reply) -> bytes:
        """Return what the stages took, and the reply."""
        stages = b"".join(sse_event(timing, name="stage") for timing in reply.timings)
        return stages + sse_event(reply_view(reply), name="done")

    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the error, and the reply if there is one."""
        failed = sse_event(error_body(error, self._request_id, repeat=is_repeat(reply)), name="error")
        return failed + (self.finish(reply) if reply else b"")


def files_of_page() -> tuple[PageFile, ...]:
    """Read the files of the page."""
    return page_files(files("ingest").joinpath("web"))


_PAGES = {"index.html": "/", "admin.html": "/admin"}


def page_router() -> APIRouter:
    """Return the routes of the pages, `/` and `/admin`; their parts are under `/static/`.

    There is one route a file, so no path from outside ever becomes a path on the disk.
    """
    router = APIRouter(include_in_schema=False)
    for file in files_of_page():
        router.add_api_route(
            _PAGES.get(file.name, f"/static/{file.name}"), sender(file), methods=["GET", "HEAD"]
        )
    return router
