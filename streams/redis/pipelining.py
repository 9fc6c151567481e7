"""A Redis client that sends the commands which wait together as one pipeline.

A command that comes while nothing is under way leaves at once, with all others of the same turn of the event
loop. What comes until the replies are there waits, and leaves as the next pipeline. So a process that does
one thing at a time waits no longer than without this, and a busy one writes, reads and (with
``appendfsync always``) syncs once for many commands.

They have a connection of their own, which the pool does not know: taking one out of redis-py's pool, with a
timer for each step, costs more than the command.
"""

import asyncio
from typing import Any, NamedTuple

from redis.asyncio import Connection, Redis
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: The replies of one pipeline are in memory together: at most so many cached answers of 256 KiB.
_MOST = 64


class _Command(NamedTuple):
    args: tuple[Any, ...]
    options: dict[str, Any]
    reply: asyncio.Future[Any]


class PipeliningRedis(Redis):
    """Has at most one pipeline under way. A command gets its own reply or error, as with `Redis`.

    A command that blocks on the server (``BLPOP``) would hold up all others: it needs a client of its own.
    A pipeline ends within the pool's `socket_timeout`, in seconds. `round_trips` counts the pipelines.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting: list[_Command] = []
        self._sending: asyncio.Task[None] | None = None
        self._connection: Connection = self.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        self._timeout_s: float = self._connection.socket_timeout
        self._connection.socket_timeout = None  # one timer for the whole pipeline
        self.round_trips = 0

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001  # as its base has it
        """Disconnect."""
        await self._connection.disconnect()
        await super().aclose(close_connection_pool)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command with those that wait, and return its reply."""
        loop = asyncio.get_running_loop()
        command = _Command(args, options, loop.create_future())
        self._waiting.append(command)
        if self._sending is None:
            self._sending = loop.create_task(self._send_all())
        return await command.reply

    async def _send_all(self) -> None:
        batch: list[_Command] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._send(batch)
        finally:
            self._sending = None
            for command in (*batch, *self._waiting):  # none, unless the loop ends
                command.reply.cancel()

    async def _send(self, batch: list[_Command]) -> None:
        self.round_trips += 1
        try:
            replies = await self._replies(batch)
        except Exception as fault:  # noqa: BLE001  # their callers handle it
            if isinstance(fault, TimeoutError | RedisTimeoutError):
                # Those behind have waited as long: for them, too, a command ends within its time-out.
                batch, self._waiting = batch + self._waiting, []
            replies = [fault] * len(batch)
        for command, reply in zip(batch, replies, strict=True):
            if command.reply.done():  # its caller was cancelled
                continue
            if isinstance(reply, Exception):
                command.reply.set_exception(reply)
            else:
                command.reply.set_result(reply)

    async def _replies(self, batch: list[_Command]) -> list[Any]:
        connection = self._connection
        try:
            async with asyncio.timeout(self._timeout_s):
                if connection.is_connected and await connection.can_read():
                    await connection.disconnect()  # Redis has closed it
                packed = connection.pack_commands([each.args for each in batch])
                await connection.send_packed_command(packed)
                return [await self._reply(connection, each) for each in batch]
        except BaseException:
            # What is still to come on it would be taken for the replies to other commands.
            await connection.disconnect(nowait=True)
            raise

    async def _reply(self, connection: Connection, command: _Command) -> Any:
        try:
            return await self.parse_response(connection, command.args[0], **command.options)
        except ResponseError as refused:  # its own caller's
            return refused
