"""From a call to what the engine is given: one of an insert, a streamed read, or a plain statement."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from headrace.embedded.clickhouse.call import SPOOL_BYTES, Call
from headrace.embedded.clickhouse.engine import Connection, Engine, Statistics
from headrace.embedded.clickhouse.faults import QueryFailed
from headrace.embedded.clickhouse.statement import (
    Insert,
    address_kill,
    find_insert,
    first_keyword,
    refuse_files,
    refuse_reaching_out,
    split_output,
)
from headrace.embedded.clickhouse.users import READER

_HEAD_BYTES = 1 << 20  # four times the engine's max_query_size: an INSERT's SQL is in here, or too long
# SHOW TABLES and its like are rewritten by the engine and lose the INTO OUTFILE clause on the way.
_LARGE_RESULTS = frozenset({b"SELECT", b"WITH", b"FROM"})
_CODE_SYNTAX_ERROR = 62
_CODE_READONLY = 164
_CODE_ACCESS_DENIED = 497
# The engine's readonly lets KILL QUERY, SYSTEM STOP MERGES and BACKUP pass: on a server they need a grant.
_READER_STATEMENTS = frozenset({
    b"SELECT", b"WITH", b"FROM", b"SHOW", b"DESCRIBE", b"DESC", b"EXPLAIN", b"EXISTS", b"USE", b"SET",
})  # fmt: skip
# What a session may do by GET besides reading: state of its own, as with the server's readonly=2.
_STATE_OF_A_SESSION = frozenset({b"SET", b"USE", b"KILL", b"SHOW", b"BEGIN", b"COMMIT", b"ROLLBACK"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        sql: The statement; for an insert, with the first part of its data.
        insert: Set where its data is sent along.
        streams: The engine writes the result to a pipe while it computes; otherwise it returns it.
        output_format: The format of the result.
    """

    sql: bytes
    insert: Insert | None
    streams: bool
    output_format: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of it: the output, where it did not go through the pipe, and the figures."""

    output: bytes
    statistics: Statistics


def make_plan(call: Call, engine: Engine) -> Plan:
    """Decide how to run a call.

    Raises:
        QueryFailed: It must not be run.
    """
    head = call.content.read(_HEAD_BYTES)
    insert = find_insert(head)
    if insert is not None:
        refuse_files(insert.sql)
        refuse_reaching_out(insert.sql, engine.refused)
        _require_write(call, b"INSERT")
        return Plan(sql=head, insert=insert, streams=False, output_format=call.default_format)
    rest = call.content.read(SPOOL_BYTES)
    if call.content.read(1):
        raise QueryFailed.of(_CODE_SYNTAX_ERROR, "SYNTAX_ERROR", "The query is too long")
    return _plan_statement(call, head + rest, engine)


def _plan_statement(call: Call, sql: bytes, engine: Engine) -> Plan:
    verdict, statements = engine.classify(sql)
    if not sql.strip():
        raise QueryFailed.of(_CODE_SYNTAX_ERROR, "SYNTAX_ERROR", "Empty query")
    if statements > 1:
        raise QueryFailed.of(_CODE_SYNTAX_ERROR, "SYNTAX_ERROR", "Multi-statements are not allowed")
    refuse_files(sql)
    refuse_reaching_out(sql, engine.refused)
    keyword = first_keyword(sql)
    if call.user == READER:
        _require_reading(keyword)
    output = split_output(sql)
    if verdict not in ("READ_ONLY", "UNKNOWN"):
        _require_write(call, keyword)
    streams = verdict == "READ_ONLY" and keyword in _LARGE_RESULTS
    # What the engine's parser does not take with our clause in it, it gets as it came.
    streams = streams and engine.classify(output.into("/dev/null", "Null"))[1] == 1
    return Plan(
        sql=address_kill(sql),
        insert=None,
        streams=streams,
        output_format=output.format or call.default_format,
    )


def _require_reading(keyword: bytes) -> None:
    if keyword not in _READER_STATEMENTS:
        raise QueryFailed.of(
            _CODE_ACCESS_DENIED,
            "ACCESS_DENIED",
            f"Not enough privileges: this user may only read, and must not use {keyword.decode()}",
        )


def _require_write(call: Call, keyword: bytes) -> None:
    """Refuse writing by GET in a session. Without one the engine does, by the setting readonly."""
    if call.readonly and call.session_id and keyword not in _STATE_OF_A_SESSION:
        raise QueryFailed.of(
            _CODE_READONLY,
            "READONLY",
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
            "You should use method POST for modifying queries",
        )


def run_plan(engine: Engine, session: Connection | None, call: Call, plan: Plan, pipe_fd: int) -> Outcome:
    """Run a plan; blocks.

    Args:
        engine: Gives a connection where there is no session.
        session: The session's connection.
        call: What was asked.
        plan: How to run it.
        pipe_fd: Where a streamed result goes; closed at the end, whatever happens.

    Raises:
        QueryFailed: The engine refused it.
    """
    try:
        if session is not None:
            return _in_session(session, engine, call, plan, pipe_fd)
        with contextlib.closing(engine.connect()) as connection:
            return _run(connection, engine, call, plan, pipe_fd)
    finally:
        os.close(pipe_fd)


def _in_session(session: Connection, engine: Engine, call: Call, plan: Plan, pipe_fd: int) -> Outcome:
    # Reading them costs milliseconds, and most requests change neither.
    database = session.database() if call.scope.database else ""
    before = session.changed_settings() if call.scope.settings else {}
    try:
        return _run(session, engine, call, plan, pipe_fd)
    finally:
        session.leave(call.scope, before)
        if database and session.database() == call.scope.database:
            session.use(database)
        for table in call.external:
            table.drop(session)


def _run(connection: Connection, engine: Engine, call: Call, plan: Plan, pipe_fd: int) -> Outcome:
    for table in call.external:
        table.create(connection, engine.refused)
    connection.enter(call.scope)
    if plan.insert is not None:
        statistics = connection.insert(plan.insert, plan.sql, call.content, call.parameters)
        return Outcome(output=b"", statistics=statistics)
    sql, output_format = plan.sql, plan.output_format
    if plan.streams:
        # The engine itself formats and writes: any format is right, and memory stays flat because a
        # full pipe makes the query wait.
        sql = split_output(sql).into(f"/dev/fd/{pipe_fd}", output_format)
        output_format = "Null"
    output, statistics = connection.run(sql, output_format, call.parameters)
    return Outcome(output=output, statistics=statistics)
