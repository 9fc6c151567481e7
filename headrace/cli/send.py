"""`headrace send`: one request to a running Headrace."""

import sys
from typing import Annotated, Any

import httpx
import msgspec
import typer

from headrace.cli.console import DEFAULT_DATA_DIR, AsJson, DataDir, fail, out
from headrace.up.home import Home
from streams.errors import HeadraceError

_CONNECT_TIMEOUT_S = 5.0
_TIMEOUT_S = 120.0


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
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    with httpx.Client(base_url=url, timeout=timeout, headers={"Authorization": f"Bearer {key}"}) as client:
        try:
            if stream:
                _print_stream(client, body)
                return
            response = client.post("/v1/chat", json=body)
        except httpx.HTTPError as fault:
            raise SendFailed(
                f"no answer from {url}: {fault!r}; does `headrace status` show it running?"
            ) from fault
    if response.status_code != httpx.codes.OK:
        _fail(response.text)
    if as_json:
        sys.stdout.write(response.text + "\n")
    else:
        print_reply(response.json())


def print_reply(reply: dict[str, Any]) -> None:
    """Print an answer with its stages and its cost."""
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
