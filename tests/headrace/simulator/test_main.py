"""The process: `python -m headrace.simulator`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from headrace.simulator.app import PASSWORD_VARIABLE, listen
from headrace.simulator.invoice import Invoice

_COMMAND = [sys.executable, "-m", "headrace.simulator"]
_PASSWORD = "the operator's"
_OPERATOR = ("control", _PASSWORD)


@contextmanager
def _running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [*_COMMAND, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {PASSWORD_VARIABLE: _PASSWORD},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, json.loads(line)["simulator"]
    finally:
        process.kill()
        process.communicate(timeout=30)


def _ask(address: str, **more: Any) -> Any:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="sk-1", max_retries=0, timeout=30) as client:
        prompt: Any = [{"role": "user", "content": "Tell me about turbines"}]
        return client.chat.completions.create(**{"model": "gpt-4o", "messages": prompt, **more})


def test_invoice_and_answers_survive_kill_9(tmp_path: Path) -> None:
    """What was billed before a kill is on the invoice after it, and the seed gives the same answer."""
    options = ("--data-dir", str(tmp_path), "--seed", "5")
    with _running(*options) as (process, address):
        first = _ask(address).choices[0].message.content
        billed = httpx.get(f"{address}/invoice", auth=_OPERATOR, timeout=30).json()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    with _running(*options) as (_, address):
        assert httpx.get(f"{address}/invoice", auth=_OPERATOR, timeout=30).json() == billed
        assert _ask(address).choices[0].message.content == first
    assert billed["calls"] == 1


def _behave(address: str, **fault: Any) -> None:
    behaviour = {"faults": [{"rate": 1, **fault}]}
    httpx.put(f"{address}/behaviour", json=behaviour, auth=_OPERATOR, timeout=30).raise_for_status()


def test_a_stop_bills_streams_under_way(tmp_path: Path) -> None:
    """SIGTERM ends the process in time and cleanly; an open stream is billed as dropped.

    No fault that was asked for is an error of the simulator: its log stays empty.
    """
    with _running("--data-dir", str(tmp_path)) as (process, address):
        _behave(address, kind="drop")
        with pytest.raises(openai.APIConnectionError):
            _ask(address)
        _behave(address, kind="hang", after_chunks=2)
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
        headers = {"authorization": "Bearer sk-1"}
        url = f"{address}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as response:
            received = response.iter_bytes()  # held, because its end would close the connection
            next(received)
            process.terminate()
            _, errors = process.communicate(timeout=30)
            del received
    assert process.returncode in {0, -signal.SIGTERM}
    invoice = Invoice(tmp_path)
    items = json.loads(msgspec.json.encode(invoice.report()["items"]))
    invoice.close()
    assert [item["status"] for item in items] == ["dropped", "dropped"]
    assert items[1]["output_tokens"] == 2
    assert "Traceback" not in errors
    assert "ASGI" not in errors


def test_port_in_use() -> None:
    """A port that is taken is said so, with what to do."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*_COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "choose another --port" in done.stderr
