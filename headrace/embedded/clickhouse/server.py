"""The ASGI application, one request, one statement, one response, and the function that serves it."""

import asyncio
import contextlib
import faulthandler
import json
import secrets
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeAlias

import uvicorn
from chdb import _chdb
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from headrace.embedded.clickhouse.engine import Engine, Summary
from headrace.embedded.clickhouse.execution import (
    PIECE_BYTES,
    ExecutionPlan,
    PipeReader,
    open_pipe,
    plan_query,
    run_query,
)
from headrace.embedded.clickhouse.http_query import SPOOL_BYTES, HttpQuery, Passwords, read_query
from headrace.embedded.clickhouse.query_error import QueryError
from headrace.same_origin import SameOriginOnly
from streams.tasks import run_unless, until_disconnect

_TEXT = "text/plain; charset=UTF-8"
_MEDIA_TYPES = {
    "CSV": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
}


class HttpReply:
    """The response to one query, sent whole or in pieces; set `query_id` and `output_format` before."""

    def __init__(self, send: Send, engine: Engine) -> None:
        self._send = send
        self._engine = engine
        self._tag = secrets.token_hex(8)
        self._started = False
        self.query_id = ""
        self.output_format = ""

    async def whole(self, body: bytes, summary: Summary) -> None:
        """Answer with everything at once."""
        await self._start(200, summary, {**self._format(), "content-length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, summary: Summary | None = None) -> None:
        """Start an answer in pieces; the summary is not known before the end of the query."""
        tag = {"x-clickhouse-exception-tag": self._tag}
        await self._start(200, summary, {**self._format(), **tag})

    async def piece(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of the body; waits while the client is slow."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def fail(self, error: QueryError) -> None:
        """Report an error: as the status, or inside a body that has begun.

        A body that has begun is left unfinished on purpose: the connection breaks, so that a client that
        does not know the marker sees that something is missing.
        """
        text = f"{error.message} (version {self._engine.version} (chDB))"
        if self._started:
            marker = (
                f"\r\n__exception__\r\n{self._tag}\r\n{text}\n"
                f"{len(text.encode()) + 1} {self._tag}\r\n__exception__\r\n"
            )
            await self.piece(marker.encode())
            return
        body = f"{text}\n".encode()
        headers = {
            "content-type": _TEXT,
            "content-length": str(len(body)),
            "x-clickhouse-exception-code": str(error.code),
        }
        if error.status == 401:
            headers["www-authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        if error.status == 503:
            headers["retry-after"] = "1"
        await self._start(error.status, None, headers)
        await self._send({"type": "http.response.body", "body": body})

    def _format(self) -> dict[str, str]:
        media_type = "application/octet-stream"
        for prefix, known in _MEDIA_TYPES.items():
            if self.output_format.startswith(prefix):
                media_type = known
        return {"x-clickhouse-format": self.output_format, "content-type": media_type}

    async def _start(self, status: int, summary: Summary | None, headers: Mapping[str, str]) -> None:
        self._started = True
        headers = {
            "x-clickhouse-query-id": self.query_id,
            "x-clickhouse-timezone": self._engine.timezone,
            **({"x-clickhouse-summary": json.dumps(summary)} if summary else {}),
            **headers,
        }
        pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


_Job: TypeAlias = asyncio.Future[tuple[bytes, Summary]]

MAX_RUNNING = 16
"""Statements at once. Each is parallel in itself; more would only share the same cores."""

MAX_WAITING = 100
"""Statements that wait for their turn; further ones are refused at once."""

_MAX_WAIT_S = 30.0
_KEEP_ALIVE_S = 30
_DRAIN_S = 3
_KILL_AGAIN_S = 0.2  # a query that has not quite begun cannot be killed yet
_HOLD_BYTES = 1 << 20
"""A result up to this size is sent whole, so that an error late in it is still a status."""


class ClickHouseHttp:
    """The HTTP interface of one open engine."""

    def __init__(self, engine: Engine, passwords: Passwords) -> None:
        self._engine = engine
        self._passwords = passwords
        self._slots = asyncio.Semaphore(MAX_RUNNING)
        self._waiting = 0
        self._threads = ThreadPoolExecutor(MAX_RUNNING, thread_name_prefix="query")

    def close(self) -> None:
        """End what still runs."""
        self._engine.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        path = scope["path"]
        greeting = path == "/" and request.method in ("GET", "HEAD") and "query" not in request.query_params
        if path == "/ping" or greeting:
            await PlainTextResponse("Ok.\n")(scope, receive, send)
        elif path != "/":
            text = f"There is no handle {path}\n\nUse / or /ping for health checks, / for queries.\n"
            await PlainTextResponse(text, 404)(scope, receive, send)
        else:
            await self._serve(request, HttpReply(send, self._engine))

    async def _serve(self, request: Request, reply: HttpReply) -> None:
        try:
            query = await read_query(request, self._passwords)
            reply.query_id = query.query_id
            with query.content:
                plan = plan_query(query, self._engine)
                reply.output_format = plan.output_format
                async with self._slot():
                    await self._answer(request, query, plan, reply)
        except QueryError as error:
            await reply.fail(error)
        except ClientDisconnect:
            return  # the client is gone: nobody reads an answer

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Hold one of the slots while the block runs: first come, first served; nobody waits for ever."""
        refusal = QueryError.of(
            "TOO_MANY_SIMULTANEOUS_QUERIES",
            f"Too many simultaneous queries. Maximum: {MAX_RUNNING}; try again later",
        )
        if self._slots.locked() and self._waiting >= MAX_WAITING:
            raise refusal
        self._waiting += 1
        try:
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._slots.acquire()
        except TimeoutError:
            raise refusal from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def _answer(
        self, request: Request, query: HttpQuery, plan: ExecutionPlan, reply: HttpReply
    ) -> None:
        """Run the query and send its result. A client that leaves ends its query, but no write."""
        with open_pipe() as (reader, write_fd):
            job = asyncio.get_running_loop().run_in_executor(
                self._threads, run_query, self._engine, query, plan, write_fd
            )
            sending = _send_result(reader, job, reply, whole=query.wait_end_of_query)
            try:
                if not plan.streams:
                    await sending
                elif await run_unless(until_disconnect(request.receive), sending) is None:
                    raise ClientDisconnect
            finally:
                await self._end(reader, job, query.query_id)

    async def _end(self, reader: PipeReader, job: _Job, query_id: str) -> None:
        """Wait until the engine is done, and cancel what nobody waits for: then the slot is free."""
        drain = asyncio.create_task(_drain(reader))
        while not job.done():
            with contextlib.suppress(QueryError):
                await asyncio.to_thread(self._engine.kill, query_id)
            await asyncio.wait([job], timeout=_KILL_AGAIN_S)
        await drain
        if not job.cancelled():
            job.exception()  # it was raised where it matters


async def _drain(reader: PipeReader) -> None:
    async for _ in reader:
        pass


async def _send_result(reader: PipeReader, job: _Job, reply: HttpReply, *, whole: bool) -> None:
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as held:
        complete = await _hold(reader, held, None if whole else _HOLD_BYTES)
        output, summary = await asyncio.shield(job) if complete else (b"", None)
        size = held.tell()
        held.seek(0)
        if summary is not None and size <= _HOLD_BYTES:
            await reply.whole(output or held.read(), summary)
            return
        await reply.begin(summary)
        while piece := held.read(PIECE_BYTES):
            await reply.piece(piece)
    async for piece in reader:
        await reply.piece(piece)
    await asyncio.shield(job)
    await reply.piece(b"", last=True)


async def _hold(reader: PipeReader, held: IO[bytes], limit: int | None) -> bool:
    async for piece in reader:
        held.write(piece)
        if limit is not None and held.tell() > limit:
            return False
    return True


def serve(listener: socket.socket, data_dir: Path, config: Path, passwords: Passwords) -> None:
    """Serve an engine until SIGTERM or Ctrl-C."""
    # chDB's own handlers leave a crashed process standing that refuses every query. Ours end it, with
    # the stack in the log, so that it is started again.
    _chdb.set_signal_handlers_enabled(0)  # type: ignore[attr-defined]  # missing in its stubs
    faulthandler.enable()
    engine = Engine(data_dir, config)
    app = ClickHouseHttp(engine, passwords)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends on these and raises them again afterwards, which must not end us before we closed.
        signal.signal(number, lambda *_: None)
    options = uvicorn.Config(
        SameOriginOnly(app),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    try:
        uvicorn.Server(options).run(sockets=[listener])
    finally:
        app.close()
        engine.close()
