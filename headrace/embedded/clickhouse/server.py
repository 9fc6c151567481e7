"""The ASGI application: one request, one statement, one response."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from headrace.embedded.clickhouse.admission import Admission
from headrace.embedded.clickhouse.call import SPOOL_BYTES, Call, read_call
from headrace.embedded.clickhouse.engine import Connection, Engine
from headrace.embedded.clickhouse.faults import QueryFailed
from headrace.embedded.clickhouse.pipe import PIECE_BYTES, PipeReader, open_pipe
from headrace.embedded.clickhouse.plan import Outcome, Plan, make_plan, run_plan
from headrace.embedded.clickhouse.reply import Identity, Reply
from headrace.embedded.clickhouse.sessions import Sessions
from headrace.embedded.clickhouse.users import Passwords

MAX_RUNNING = 16
"""Statements at once. Each is parallel in itself; more would only share the same cores."""

MAX_WAITING = 100
MAX_WAIT_S = 30.0

Finish = Callable[[], Awaitable[None]]

_KILL_AGAIN_S = 0.2  # a query that has not quite begun cannot be killed yet
_HOLD_BYTES = 1 << 20
"""A result up to this size is sent whole, so that an error late in it is still a status."""


class ClickHouseHttp:
    """The HTTP interface of one engine.

    Args:
        engine: The open engine.
        passwords: Who may come in.
        max_running: Statements at once.
    """

    def __init__(self, engine: Engine, passwords: Passwords, *, max_running: int = MAX_RUNNING) -> None:
        self._engine = engine
        self._passwords = passwords
        self._identity = Identity(host=engine.host, timezone=engine.timezone, version=engine.version)
        self._admission = Admission(max_running=max_running, max_waiting=MAX_WAITING, max_wait_s=MAX_WAIT_S)
        self._threads = ThreadPoolExecutor(max_running, thread_name_prefix="query")
        self._sessions = Sessions(engine.connect)

    def close(self) -> None:
        """End what still runs and close the sessions."""
        self._engine.kill_all()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._sessions.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = scope["path"]
        if path in ("/ping", "/replicas_status") or (path == "/" and _is_greeting(request)):
            await PlainTextResponse("Ok.\n")(scope, receive, send)
        elif path not in ("/", "/query"):
            text = f"There is no handle {path}\n\nUse / or /ping for health checks, / for queries.\n"
            await PlainTextResponse(text, 404)(scope, receive, send)
        else:
            await self._serve(request, send)

    async def _serve(self, request: Request, send: Send) -> None:
        reply = Reply(send, self._identity, request.query_params.get("query_id", ""))
        try:
            call = await read_call(request, self._passwords)
            with call.content:
                reply = Reply(send, self._identity, call.scope.query_id)
                plan = make_plan(call, self._engine)
                reply.describe(plan.output_format, call.encoding)
                async with self._admission.slot(), self._session(call) as session:
                    finish = await self._answer(request, call, plan, session, reply)
                # Only now: who has the whole answer may use the session again.
                await finish()
        except QueryFailed as error:
            await reply.fail(error)
        except ClientDisconnect:
            return  # it went away while it sent its request: nothing was run

    @contextlib.asynccontextmanager
    async def _session(self, call: Call) -> AsyncIterator[Connection | None]:
        if not call.session_id:
            yield None
            return
        use = self._sessions.use(call.session_id, call.session_timeout_s, check=call.session_check)
        async with use as connection:
            yield connection
        if call.close_session:
            await self._sessions.drop(call.session_id)

    async def _answer(
        self, request: Request, call: Call, plan: Plan, session: Connection | None, reply: Reply
    ) -> Finish:
        with open_pipe() as (reader, write_fd):
            loop = asyncio.get_running_loop()
            job = loop.run_in_executor(self._threads, run_plan, self._engine, session, call, plan, write_fd)
            watch = asyncio.create_task(self._cancel_on_disconnect(request, call, plan))
            try:
                return await _send_result(reader, job, reply, whole=call.whole)
            finally:
                watch.cancel()
                await self._settle(reader, job, call.scope.query_id)

    async def _settle(self, reader: PipeReader, job: asyncio.Future[Outcome], query_id: str) -> None:
        """Wait until the engine is done: only then are the slot and the session free.

        It is done already unless sending failed; then nobody wants the rest.
        """
        drain = asyncio.create_task(_drain(reader))
        while not job.done():
            await self._kill(query_id)
            await asyncio.wait([job], timeout=_KILL_AGAIN_S)
        await drain
        if not job.cancelled():
            job.exception()  # it has been raised where it matters

    async def _cancel_on_disconnect(self, request: Request, call: Call, plan: Plan) -> None:
        """Nobody waits for the rows of a client that is gone; its writes are completed."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        while plan.streams:  # until the job ends, and this task with it
            await self._kill(call.scope.query_id)
            await asyncio.sleep(_KILL_AGAIN_S)

    async def _kill(self, query_id: str) -> None:
        with contextlib.suppress(QueryFailed):
            await asyncio.to_thread(self._engine.kill, query_id)


async def _drain(reader: PipeReader) -> None:
    while await reader.read():
        pass


async def _send_result(
    reader: PipeReader, job: asyncio.Future[Outcome], reply: Reply, *, whole: bool
) -> Finish:
    """Send a result as it comes, all but its end; a small one is sent by what this returns."""
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as held:
        ended = await _hold(reader, held, None if whole else _HOLD_BYTES)
        outcome = await job if ended else None
        size = held.tell()
        held.seek(0)
        if outcome is not None and size <= _HOLD_BYTES:
            return partial(reply.whole, outcome.output or held.read(), outcome.statistics)
        await reply.begin(outcome.statistics if outcome else None)
        while piece := held.read(PIECE_BYTES):
            await reply.piece(piece)
    while piece := await reader.read():
        await reply.piece(piece)
    await job
    return reply.end


async def _hold(reader: PipeReader, held: IO[bytes], limit: int | None) -> bool:
    """Keep the beginning of a result; whether that is all of it."""
    while piece := await reader.read():
        held.write(piece)
        if limit is not None and held.tell() > limit:
            return False
    return True


def _is_greeting(request: Request) -> bool:
    return request.method in ("GET", "HEAD") and "query" not in request.query_params
