"""How `POST /v1/chat` words an answer: the fields and the stream of the capstone lesson."""

from typing import Any

from ingest.errors import error_body
from ingest.follow.resume import Marker
from ingest.follow.sse import DONE, RETRY, sse_event
from ingest.follow.transcript import pieces
from ingest.openai.chat_answers import headrace_extension
from ingest.outcomes import is_blocked_input, is_blocked_output, is_repeat
from streams.events import ErrorInfo, Reply
from streams.registry.reply_view import plain, reply_view
from streams.serving.json_response import to_json

_RESET = sse_event({}, name="reset", event_id=Marker().event_id)


def chat_answer(reply: Reply, *, latency_ms: float) -> dict[str, Any]:
    """Return the JSON answer of a request that was answered, or blocked by the input guardrails."""
    if is_blocked_input(reply):
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


class ChatStream:
    """`data: {"token": …}` … `data: [DONE]`. Its ids resume it at `/v1/requests/{id}/events`."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def begin(self) -> bytes:
        """Nothing comes before the answer."""
        return b""

    def text(self, text: str, marker: Marker) -> bytes:
        """Return the tokens, several where there is much text at once."""
        return _tokens(text, marker)

    def restart(self) -> bytes | None:
        """Tell the client to drop what it has; the whole answer follows."""
        return _RESET

    def finish(self, reply: Reply) -> bytes:
        """Return what is ours of the answer, as a comment, and the lesson's end mark.

        The lesson's clients take every event for a token; comments are read by none, but by whoever looks. An
        empty token before them says `repeat`, where it is one.
        """
        repeat = sse_event({"token": "", "repeat": True}) if reply.repeat else b""
        return repeat + b": headrace " + to_json(headrace_extension(reply)) + b"\n\n" + DONE

    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the error; there is no end mark, because the answer is not complete."""
        return sse_event(error_body(error, self._request_id, repeat=is_repeat(reply)))


class RequestEvents:
    """Named events: `delta`, `reset`, `error`, `stage`, and `done` with the reply."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def begin(self) -> bytes:
        """Return how soon to connect again after a drop."""
        return RETRY

    def text(self, text: str, marker: Marker) -> bytes:
        """Return the deltas."""
        return _tokens(text, marker, name="delta")

    def restart(self) -> bytes | None:
        """Tell the client to drop what it has; the whole answer follows."""
        return _RESET

    def finish(self, reply: Reply) -> bytes:
        """Return what the stages took, and the reply."""
        stages = b"".join(sse_event(timing, name="stage") for timing in reply.timings)
        return stages + sse_event(reply_view(reply), name="done")

    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the error, and the reply if there is one."""
        failed = sse_event(error_body(error, self._request_id, repeat=is_repeat(reply)), name="error")
        return failed + (self.finish(reply) if reply else b"")


def _tokens(text: str, marker: Marker, *, name: str | None = None) -> bytes:
    found = []
    for piece in pieces(text):
        marker.add(piece)
        found.append(sse_event({"token": piece}, name=name, event_id=marker.event_id))
    return b"".join(found)
