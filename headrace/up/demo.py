"""Sends the demo request of `headrace up`, one question through all five stages, and waits for its row."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from headrace.up.home import Endpoints
from streams.errors import HeadraceError

_TIMEOUT_S = 60.0
_ROW_TIMEOUT_S = 15.0
_ROW_POLL_S = 0.1


class DemoFailed(HeadraceError):
    """The demo request did not get its answer or its row."""


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo request got."""

    question: str
    reply: dict[str, Any]
    row: dict[str, Any]
    row_after_ms: float


def run_demo(endpoints: Endpoints) -> Demo:
    """Send a question that no cache has seen, and read its row from ClickHouse.

    Raises:
        DemoFailed: no answer, or no row in time; the message says which, and where to look.
    """
    now = datetime.now(UTC)
    question = (
        f"In one paragraph: what does a headrace do in a water mill? (asked {now:%Y-%m-%d %H:%M:%S.%f})"
    )
    try:
        response = httpx.post(
            f"{endpoints.ingest}/v1/chat",
            json={"query": question, "user_id": "demo", "template": "general_chat"},
            headers={"Authorization": f"Bearer {endpoints.api_key}"},
            timeout=_TIMEOUT_S,
        )
    except httpx.HTTPError as fault:
        raise DemoFailed(f"the demo request failed: {fault!r}; see the logs of ingest and worker") from fault
    reply = response.json()
    if response.status_code != httpx.codes.OK:
        raise DemoFailed(f"the demo request got HTTP {response.status_code}: {response.text[:500]}")
    replied_at = time.monotonic()
    row = _await_row(endpoints, str(reply["request_id"]))
    waited_ms = (time.monotonic() - replied_at) * 1000
    return Demo(question=question, reply=reply, row=row, row_after_ms=waited_ms)


def _await_row(endpoints: Endpoints, request_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _ROW_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            response = httpx.post(
                endpoints.clickhouse,
                params={"param_id": request_id, "database": "headrace", "default_format": "JSONEachRow"},
                content="SELECT * FROM requests WHERE request_id = {id:String}",
                timeout=_TIMEOUT_S,
            )
        except httpx.HTTPError as fault:
            raise DemoFailed(f"ClickHouse did not answer: {fault!r}") from fault
        if response.status_code != httpx.codes.OK:
            raise DemoFailed(f"ClickHouse answered {response.status_code}: {response.text[:500]}")
        if response.text:
            return dict(msgspec.json.decode(response.text.splitlines()[0]))
        time.sleep(_ROW_POLL_S)
    raise DemoFailed(f"no row for {request_id} within {_ROW_TIMEOUT_S:.0f} s; see the log of analytics")
