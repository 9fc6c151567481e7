"""HTTP sessions: connections that clients come back to by `session_id`, with what they SET and created."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.embedded.clickhouse.engine import Connection, Engine
from headrace.embedded.clickhouse.http_query import HttpQuery
from headrace.embedded.clickhouse.query_error import QueryError

MAX_SESSIONS = 1000


@dataclass(slots=True)
class _Session:
    connection: Connection
    expires_at: float = 0.0
    busy: bool = False


class Sessions:
    """The open sessions of one engine. Each is used by one query at a time.

    Args:
        engine: Makes their connections.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: dict[str, _Session] = {}

    @asynccontextmanager
    async def use(self, query: HttpQuery) -> AsyncIterator[Connection | None]:
        """The connection of the query's session, which its first query makes; None: it has no session.

        Raises:
            QueryError: The session is in use, or there are too many.
        """
        await self._close_expired()
        if not query.session_id:
            yield None
            return
        session = self._open.get(query.session_id)
        if session is None:
            if len(self._open) >= MAX_SESSIONS:
                raise QueryError.of(
                    "TOO_MANY_SIMULTANEOUS_QUERIES", f"Too many sessions are open. Maximum: {MAX_SESSIONS}"
                )
            session = self._open[query.session_id] = _Session(self._engine.connect())
        if session.busy:
            raise QueryError.of(
                "SESSION_IS_LOCKED", f"Session {query.session_id} is locked by a concurrent client"
            )
        session.busy = True
        try:
            yield session.connection
        finally:
            session.busy = False
            session.expires_at = time.monotonic() + query.session_timeout_s

    async def _close_expired(self) -> None:
        now = time.monotonic()
        expired = [name for name, each in self._open.items() if not each.busy and each.expires_at <= now]
        for session in [self._open.pop(name) for name in expired]:
            await asyncio.to_thread(session.connection.close)

    def close(self) -> None:
        """Close them all. No query may be running."""
        for session in self._open.values():
            session.connection.close()
        self._open.clear()
