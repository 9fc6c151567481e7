"""Decides how a query is run, and runs it: an INSERT with data, a streamed SELECT, or another statement."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from headrace.embedded.clickhouse.engine import Engine, Summary
from headrace.embedded.clickhouse.http_query import READER, SPOOL_BYTES, HttpQuery
from headrace.embedded.clickhouse.query_error import QueryError
from headrace.embedded.clickhouse.statement import (
    InsertStatement,
    check_confined,
    find_insert,
    first_keyword,
    split_output,
)

_HEAD_BYTES = 1 << 20  # four times the engine's max_query_size: an INSERT's SQL is in here, or too long
# The engine rewrites SHOW TABLES and its like, and loses the INTO OUTFILE clause on the way.
_STREAMED = frozenset({b"SELECT", b"WITH", b"FROM"})
# The engine's setting readonly lets KILL QUERY, SYSTEM STOP MERGES and BACKUP pass: on a server they need a
# grant.
_READER_STATEMENTS = _STREAMED | {b"SHOW", b"DESCRIBE", b"DESC", b"EXPLAIN", b"EXISTS"}
_OF_SESSIONS = frozenset({b"SET", b"USE"})
PIECE_BYTES = 256 << 10
"""How much is read, and sent, at once."""

_CAPACITY_BYTES = 1 << 20  # Linux' default limit for users (fs.pipe-max-size)


class PipeReader:
    """The reading end, for one task at a time. It holds nothing, so that a full pipe makes its writer wait.

    It is not the loop's own pipe transport: uvloop's closes the descriptor twice, and in between the engine's
    threads may have been given the same number for a file of theirs.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces of the result until its end, each at most `PIECE_BYTES`."""
        while piece := await self._read():
            yield piece

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._fd, PIECE_BYTES)
            readable = asyncio.Event()
            loop.add_reader(self._fd, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._fd)


@contextlib.contextmanager
def open_pipe() -> Iterator[tuple[PipeReader, int]]:
    """The reader, and the descriptor to write to, which the writer closes."""
    read_fd, write_fd = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # fewer, larger pieces; not needed
            fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _CAPACITY_BYTES)
    try:
        yield PipeReader(read_fd), write_fd
    finally:
        os.close(read_fd)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionPlan:
    """How to run a query."""

    sql: bytes  # the statement; of an insert, with the first part of its data
    insert: InsertStatement | None = None  # set where its data is sent along
    streams: bool = False  # the engine writes the result to a pipe while it computes; otherwise it returns it
    output_format: str  # the format of the result


def plan_query(query: HttpQuery, engine: Engine) -> ExecutionPlan:
    """Decide how to run a query."""
    head = query.content.read(_HEAD_BYTES)
    insert = find_insert(head)
    if insert is not None:
        check_confined(insert.sql, engine.refused)
        return ExecutionPlan(sql=head, insert=insert, output_format=query.default_format)
    sql = head + query.content.read(SPOOL_BYTES)
    if query.content.read(1):
        raise QueryError.of("SYNTAX_ERROR", "The query is too long")
    kind, statements = engine.classify(sql)
    if not sql.strip():
        raise QueryError.of("SYNTAX_ERROR", "Empty query")
    if statements > 1:
        raise QueryError.of("SYNTAX_ERROR", "Multi-statements are not allowed")
    check_confined(sql, engine.refused)
    keyword = first_keyword(sql)
    if keyword in _OF_SESSIONS:
        raise QueryError.of(
            "NOT_IMPLEMENTED",
            f"{keyword.decode()} is not supported here, because there are no sessions: send settings and "
            "database as parameters of each query, or write SETTINGS and database.table in it",
        )
    if query.user == READER and keyword not in _READER_STATEMENTS:
        raise QueryError.of(
            "ACCESS_DENIED",
            f"Not enough privileges: this user may only read, and must not use {keyword.decode()}",
        )
    output = split_output(sql)
    streams = (
        kind == "READ_ONLY"
        and keyword in _STREAMED
        # What the engine's parser does not take with our clause in it, it gets as it came.
        and engine.classify(output.into("/dev/null", "Null"))[1] == 1
    )
    return ExecutionPlan(sql=sql, streams=streams, output_format=output.format or query.default_format)


def run_query(engine: Engine, query: HttpQuery, plan: ExecutionPlan, pipe_fd: int) -> tuple[bytes, Summary]:
    """Run a query (blocks) and close `pipe_fd`. Return the output that did not go there, and the figures."""
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, pipe_fd)
        connection = stack.enter_context(contextlib.closing(engine.connect()))
        connection.apply(query)
        if plan.insert is not None:
            return b"", connection.insert(plan.insert, plan.sql, query.content, query.parameters)
        if not plan.streams:
            return connection.run(plan.sql, plan.output_format, query.parameters)
        # The engine formats and writes, so that any format is right. A full pipe makes the query wait, so
        # that memory stays flat.
        sql = split_output(plan.sql).into(f"/dev/fd/{pipe_fd}", plan.output_format)
        return connection.run(sql, "Null", query.parameters)
