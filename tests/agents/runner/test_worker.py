"""A worker as a process: how it ends."""

import asyncio
import signal
import sys
import uuid

import pytest

from agents.runner.watchdog import EXIT_STUCK

pytestmark = pytest.mark.integration


async def start(bootstrap: str, way: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.agents.runner.stuck_worker",
        bootstrap,
        uuid.uuid4().hex[:8],
        way,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def output_of(process: asyncio.subprocess.Process) -> str:
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode()


@pytest.mark.parametrize(
    ("way", "status", "seen"),
    [("waits", 1, "what=overdue"), ("blocks", EXIT_STUCK, "what=blocked_event_loop")],
)
async def test_a_worker_that_is_stuck_ends_with_an_error(
    kafka_bootstrap: str, way: str, status: int, seen: str
) -> None:
    """So that its supervisor starts it again; the log says what was seen, and where a blocked loop is."""
    process = await start(kafka_bootstrap, way)
    output = await output_of(process)
    assert process.returncode == status, output
    assert "worker.stalled" in output
    assert seen in output
    if way == "blocks":
        assert "in handle" in output


async def test_a_worker_ends_in_good_order_when_it_is_asked_to(kafka_bootstrap: str) -> None:
    """The guard lets it."""
    process = await start(kafka_bootstrap, "works")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b"ready\n" not in await process.stdout.readline():
            pass
    process.send_signal(signal.SIGTERM)
    output = await output_of(process)
    assert process.returncode == 0, output
    assert "worker.stalled" not in output
