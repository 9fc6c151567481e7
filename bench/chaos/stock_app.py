"""A stock faust-streaming app, as Faust's documentation writes one: run beside Headrace under the same kills.

Session time-outs and static membership are those of Headrace's workers, so that a restarted worker goes on at
once: what is compared is what becomes of messages that are in flight. Acknowledgement, transport and sending
are Faust's own.

    python -m bench.chaos.stock_app HOST:PORT DONE_FILE
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import faust
import msgspec

APP_ID = "stock-faust"
SOURCE = "stock.requests"
REPLIES = "stock.replies"

#: So many does an agent work on at once: enough for the load.
CONCURRENCY = 100


class Job(msgspec.Struct):
    """A message: its id, and how long answering it takes, in seconds."""

    id: str
    takes_s: float


def build(bootstrap: str, done: Path) -> faust.App:
    """Return the app; it appends the id of every message that it has answered to `done`."""
    app = faust.App(
        APP_ID,
        broker=f"kafka://{bootstrap}",
        web_enabled=False,
        store="memory://",
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",
        datadir=done.parent / "stock-faust",
        consumer_group_instance_id="stock-0",
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=0.5,
    )
    requests = app.topic(SOURCE, value_serializer="raw")
    replies = app.topic(REPLIES, value_serializer="raw")
    decoder = msgspec.json.Decoder(Job)
    # One write of a few bytes to a file opened for appending: it survives the process that made it.
    file = os.open(done, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @app.agent(requests, concurrency=CONCURRENCY)
    async def answer(stream: Any) -> None:
        async for value in stream:
            job = decoder.decode(value)
            await asyncio.sleep(job.takes_s)
            os.write(file, job.id.encode() + b"\n")
            await replies.send(key=job.id.encode(), value=b"done")

    return app


def main() -> None:
    """Run the worker until it is killed."""
    bootstrap, done = sys.argv[1], Path(sys.argv[2])
    app = build(bootstrap, done)
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main()
