"""`headrace send`, and the demo of `headrace up`: one request to a running Headrace."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import httpx
import msgspec
import typer

from headrace.cli.console import DEFAULT_DATA_DIR, AsJson, DataDir, fail, out
from headrace.up.home import Endpoints, Home
from streams.errors import HeadraceError

_CONNECT_TIMEOUT_S = 5.0
_TIMEOUT_S = 120.0
_ROW_TIMEOUT_S = 15.0
_ROW_POLL_S = 0.1
_ROW_COLUMNS = """
    request_id user_id timestamp prompt_template prompt_version model input_tokens output_tokens latency_ms
    cache_hit guardrail_input_pass guardrail_output_pass cost_usd error
""".split()

_say = partial(out.print, markup=False)


class SendFailed(HeadraceError):
    """The request was not answered."""


app = typer.Typer()


@app.command(epilog='Example: headrace send "What is Kafka?" --stream')
def send(
    query: Annotated[str, typer.Argument(help="The question.")],
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the answer while the model writes it.")
    ] = False,
    user: Annotated[str, typer.Option(help="User id of the request.")] = "cli",
    template: Annotated[str, typer.Option(help="Prompt template.")] = "general_chat",
    model: Annotated[str | None, typer.Option(help="Model. Default: the template's.")] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="HEADRACE_URL", help="Address of the API. Default: the running `headrace up`."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="HEADRACE_API_KEY", help="API key. Default: that of the running `headrace up`."),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Send one question, and print the answer with the time of each stage and its cost."""
    if url is None or key is None:
        endpoints = Home(data_dir).endpoints()
        url, key = url or endpoints.ingest, key or endpoints.api_key
    body = {"query": query, "user_id": user, "template": template, "stream": stream}
    body |= {"model": model} if model is not None else {}
    with _client(url, key) as client:
        if stream:
            _print_stream(client, body)
            return
        text = _post(client, body)
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        _print_reply(msgspec.json.decode(text))


def run_demo(endpoints: Endpoints, *, simulated: bool) -> None:
    """Send a question that no cache has seen; show answer and row in ClickHouse. Raises `SendFailed`."""
    question = f"In one paragraph: what does a headrace do in a water mill? (asked {datetime.now(UTC)})"
    body = {"query": question, "user_id": "demo", "template": "general_chat"}
    with _client(endpoints.ingest, endpoints.api_key) as client:
        reply = msgspec.json.decode(_post(client, body))
    replied_at = time.monotonic()
    row = _await_row(endpoints, reply["request_id"])
    waited_ms = (time.monotonic() - replied_at) * 1000
    _say(f"\ndemo request: {question}", style="bold")
    _print_reply(reply)
    if simulated:
        _say("  (no provider key is set: the answer is simulated)", style="dim")
    _say(f"\nits row in ClickHouse, {waited_ms:.0f} ms after the reply:", style="bold")
    for column in _ROW_COLUMNS:
        _say(f"  {column:<22} {row.get(column)}", style="dim")
    _say()


def _await_row(endpoints: Endpoints, request_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _ROW_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            response = httpx.post(
                endpoints.clickhouse,
                params={"param_id": request_id, "database": "headrace", "default_format": "JSONEachRow"},
                content="SELECT * FROM requests WHERE request_id = {id:String}",
                timeout=_TIMEOUT_S,
            )
        except httpx.HTTPError as fault:
            raise SendFailed(f"ClickHouse did not answer: {fault!r}") from fault
        if response.status_code != httpx.codes.OK:
            raise SendFailed(f"ClickHouse answered {response.status_code}: {response.text[:500]}")
        if response.text:
            return dict(msgspec.json.decode(response.text.splitlines()[0]))
        time.sleep(_ROW_POLL_S)
    raise SendFailed(f"no row for {request_id} within {_ROW_TIMEOUT_S:.0f} s; see the log of analytics")


@contextmanager
def _client(url: str, key: str) -> Iterator[httpx.Client]:
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=url, timeout=timeout, headers=headers) as client:
            yield client
    except httpx.HTTPError as fault:
        raise SendFailed(
            f"no answer from {url}: {fault!r}; does `headrace status` show it running?"
        ) from fault


def _post(client: httpx.Client, body: dict[str, Any]) -> str:
    response = client.post("/v1/chat", json=body)
    if response.status_code != httpx.codes.OK:
        _fail(response.text)
    return response.text


def _print_reply(reply: dict[str, Any]) -> None:
    if reply.get("blocked"):
        out.print(f"blocked: {reply.get('reason')}", style="yellow", markup=False)
    else:
        out.print(str(reply.get("response", "")), markup=False)
    out.print()
    for timing in reply.get("timings", ()):
        queue_ms, work_ms = timing["queue_us"] / 1000, timing["work_us"] / 1000
        out.print(
            f"  {timing['stage']:<10} {timing['outcome']:<9} "
            f"waited {queue_ms:8.1f} ms   worked {work_ms:8.1f} ms",
            style="dim",
            markup=False,
        )
    facts = [
        str(reply.get("status", "")),
        str(reply.get("model") or ""),
        "from the cache" if reply.get("cache_hit") else "",
        f"{reply.get('latency_ms', 0):.0f} ms",
        f"${reply.get('cost_usd', 0)}",
        str(reply.get("request_id", "")),
    ]
    out.print("  " + " · ".join(fact for fact in facts if fact), style="dim", markup=False)


def _print_stream(client: httpx.Client, body: dict[str, Any]) -> None:
    with client.stream("POST", "/v1/chat", json=body) as response:
        if response.status_code != httpx.codes.OK:
            response.read()
            _fail(response.text)
        for line in response.iter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = msgspec.json.decode(line.removeprefix("data: "))
            if "error" in event:
                sys.stdout.write("\n")
                fail(event["error"]["message"])
                raise typer.Exit(1)
            sys.stdout.write(event.get("token", ""))
            sys.stdout.flush()
    sys.stdout.write("\n")


def _fail(text: str) -> None:
    try:
        message = msgspec.json.decode(text)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = text[:500]
    raise SendFailed(message)
