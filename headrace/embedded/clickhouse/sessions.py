"""HTTP sessions: a connection that a client comes back to by session_id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.embedded.clickhouse.engine import Connection
from headrace.embedded.clickhouse.faults import QueryFailed

DEFAULT_TIMEOUT_S = 60.0
"""The server's default_session_timeout."""

MAX_TIMEOUT_S = 3600.0
"""The server's max_session_timeout."""

_CODE_SESSION_NOT_FOUND = 372
_CODE_SESSION_IS_LOCKED = 373
_CODE_TOO_MANY_SESSIONS = 202


@dataclass(slots=True)
class _Session:
    connection: Connection
    expires_at: float
    timeout_s: float
    busy: bool = True


class Sessions:
    """The open sessions of one server, each used by one request at a time.

    Args:
        connect: Makes a connection; called in a thread.
        max_sessions: How many may be open.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        max_sessions: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._max_sessions = max_sessions
        self._clock = clock
        self._open: dict[str, _Session] = {}

    @asynccontextmanager
    async def use(self, session_id: str, timeout_s: float, *, check: bool) -> AsyncIterator[Connection]:
        """The session's connection for one request.

        Args:
            session_id: The client's name for it.
            timeout_s: How long it lives after this request, at most `MAX_TIMEOUT_S`.
            check: Refuse to create it.

        Raises:
            QueryFailed: It is in use, does not exist although it should, or there are too many.
        """
        await self.expire()
        session = self._open.get(session_id)
        if session is None:
            session = await self._create(session_id, check=check)
        elif session.busy:
            raise QueryFailed.of(
                _CODE_SESSION_IS_LOCKED,
                "SESSION_IS_LOCKED",
                f"Session {session_id} is locked by a concurrent client",
            )
        session.busy = True
        session.timeout_s = min(timeout_s, MAX_TIMEOUT_S)
        try:
            yield session.connection
        finally:
            session.busy = False
            session.expires_at = self._clock() + session.timeout_s

    async def _create(self, session_id: str, *, check: bool) -> _Session:
        if check:
            raise QueryFailed.of(
                _CODE_SESSION_NOT_FOUND, "SESSION_NOT_FOUND", f"Session {session_id} not found"
            )
        if len(self._open) >= self._max_sessions:
            raise QueryFailed.of(
                _CODE_TOO_MANY_SESSIONS,
                "TOO_MANY_SIMULTANEOUS_QUERIES",
                f"Too many sessions are open. Maximum: {self._max_sessions}",
            )
        # No await between the look-up and here: the same id cannot be created twice.
        session = _Session(self._connect(), self._clock(), DEFAULT_TIMEOUT_S)
        self._open[session_id] = session
        return session

    async def drop(self, session_id: str) -> None:
        """Close a session at once; an unknown one is fine."""
        session = self._open.pop(session_id, None)
        if session is not None:
            await asyncio.to_thread(session.connection.close)

    async def expire(self) -> None:
        """Close the sessions whose time is over."""
        now = self._clock()
        over = [name for name, one in self._open.items() if not one.busy and one.expires_at <= now]
        for name in over:
            await self.drop(name)

    def close(self) -> None:
        """Close them all; no request may be running."""
        for session in self._open.values():
            session.connection.close()
        self._open.clear()
