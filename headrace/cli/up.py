"""`headrace up`, `headrace down` and `headrace status`: the whole stack on this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, wait
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import psutil
import typer
from dotenv import dotenv_values
from rich.table import Table

from headrace.cli.console import DEFAULT_DATA_DIR, AsJson, DataDir, fail, out, print_json, progress
from headrace.cli.send import run_demo
from headrace.embedded.data_dir import OWNER_ONLY
from headrace.up.home import Endpoints, Home, NotRunning, UpStatus, start_after_boot_s
from headrace.up.stack import Options, Stack
from streams.telemetry import configure_logging, without_credentials

_DETACH_POLL_S = 0.1
_say = partial(out.print, markup=False)

app = typer.Typer()


@app.command(epilog="Example: headrace up --detach --workers 2")
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when everything is ready; go on in the background.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Number of worker processes.")] = 1,
    standby: Annotated[
        bool,
        typer.Option(
            help="Keep a loaded standby for each worker, which takes over if it ends; about 200 MB each."
        ),
    ] = True,
    ingest_port: Annotated[
        int | None, typer.Option(help="Port of the HTTP API. Default: a free one.")
    ] = None,
    analytics_port: Annotated[
        int | None, typer.Option(help="Port of analytics. Default: a free one.")
    ] = None,
    simulator_port: Annotated[
        int | None, typer.Option(help="Port of the provider simulator. Default: a free one.")
    ] = None,
    demo: Annotated[bool, typer.Option(help="Send a demo request when everything is ready.")] = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Run Kafka, Redis, ClickHouse and all of Headrace on this machine until Ctrl-C.

    A part is not started where its address is set: HEADRACE_KAFKA_BOOTSTRAP, HEADRACE_REDIS_URL,
    HEADRACE_CLICKHOUSE_URL. Providers are simulated if neither OPENAI_API_KEY nor ANTHROPIC_API_KEY is set.
    When everything is ready, endpoints and keys are in DATA_DIR/endpoints.json.
    """
    home = Home(data_dir)
    options = Options(
        workers=workers,
        standby=standby,
        ports={"ingest": ingest_port, "analytics": analytics_port, "simulator": simulator_port},
    )
    if detach:
        _detach(home)
        _show_keys(home)
    else:
        _run(home, options, demo=demo)


def _run(home: Home, options: Options, *, demo: bool) -> None:
    os.umask(OWNER_ONLY)
    home.lock()
    configure_logging("WARNING", "console")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    began_s, ready = time.monotonic(), False
    start_s = start_after_boot_s(os.getpid())

    def note() -> None:
        status = UpStatus(
            supervisor_pid=os.getpid(), supervisor_start_s=start_s, ready=ready, processes=stack.processes()
        )
        with noting:
            home.write("status", status)

    noting = threading.Lock()
    environ = {name: value for name, value in dotenv_values(".env").items() if value is not None} | os.environ
    stack = Stack(home, options, environ, on_progress=progress, on_change=note)
    try:
        endpoints = _start(stack, stop)
        if endpoints is None:
            return
        ready = True
        home.write("endpoints", endpoints)
        note()
        progress(f"ready after {time.monotonic() - began_s:.1f} s")
        if demo:
            run_demo(endpoints, simulated=stack.simulated)
        _show_endpoints(endpoints, home)
        _show_keys(home)
        stop.wait()
    finally:
        progress("stopping …")
        stack.stop()
        home.clear_status()


def _start(stack: Stack, stop: threading.Event) -> Endpoints | None:
    """Start the stack in a thread of its own, so that Ctrl-C is heard meanwhile; None if it was."""
    started: Future[Endpoints] = Future()

    def start() -> None:
        try:
            started.set_result(stack.start())
        except BaseException as fault:  # noqa: BLE001  # handed to the main thread as it is
            started.set_exception(fault)

    threading.Thread(target=start, name="stack-start", daemon=True).start()
    while not (started.done() or stop.is_set()):
        wait((started,), timeout=_DETACH_POLL_S)
    return started.result() if started.done() else None


def _detach(home: Home) -> None:
    """Run the same command in the background, and show what it says until it is ready."""
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--detach", "-d")]
    with os.fdopen(home.create_up_log(), "wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command line again
            [sys.executable, "-m", "headrace", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _follow(home, process, until="ready ·")
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        raise


def _follow(home: Home, process: subprocess.Popen[bytes], *, until: str) -> None:
    with home.up_log.open(encoding="utf-8", errors="replace") as log:
        while True:
            line = log.readline()
            if line:
                sys.stdout.write(line)
                sys.stdout.flush()
                if line.startswith(until):
                    return
            elif process.poll() is not None:
                sys.stdout.write(log.read())
                raise typer.Exit(process.returncode or 1)
            else:
                time.sleep(_DETACH_POLL_S)


def _show_endpoints(endpoints: Endpoints, home: Home) -> None:
    """Print where everything is, without passwords: this may go to a log."""
    _say(f"  API         {endpoints.ingest}")
    _say(f"  Kafka       {endpoints.kafka}  (no password: for every user of this machine)")
    _say(f"  ClickHouse  {without_credentials(endpoints.clickhouse)}")
    _say(f"  Redis       {without_credentials(endpoints.redis)}")
    _say(f"  analytics   {endpoints.analytics}")
    if endpoints.simulator:
        _say(f"  providers   simulated at {endpoints.simulator}")
    _say(f"  keys and passwords are in {home.endpoints_path}")
    _say(f"ready · stop it with Ctrl-C or `headrace down` · logs in {home.logs}")


def _show_keys(home: Home) -> None:
    if sys.stdout.isatty():
        endpoints = home.endpoints()
        _say(f"  API key     {endpoints.api_key}")
        _say(f"  chat page   {_page(endpoints.ingest + '/', endpoints.api_key)}")
        _say(f"  dashboard   {_page(endpoints.analytics + '/analytics', endpoints.admin_key)}")


def _page(address: str, key: str) -> str:
    """Return a page's address with a key: after the #, so that no server gets it; the page takes it out."""
    return f"{address}#key={quote(key, safe='')}"


_DOWN_TIMEOUT_S = 90.0
_COLOURS = {"running": "green", "external": "blue", "failed": "red", "stopped": "red"}


@app.command(epilog="Example: headrace status --json")
def status(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Show every process of a running `headrace up`: role, pid, port, state, memory.

    Exit code 0: everything runs. 3: nothing runs. 4: a process is not ready, or has failed.
    """
    try:
        state = Home(data_dir).status()
    except NotRunning as fault:
        if as_json:
            print_json({"running": False, "ready": False, "processes": []})
        else:
            fail(str(fault))
        raise typer.Exit(3) from fault
    rows = [{**msgspec.to_builtins(each), "rss_bytes": _rss_bytes(each.pid)} for each in state.processes]
    if as_json:
        known = {"ready": state.ready, "supervisor_pid": state.supervisor_pid, "processes": rows}
        print_json({"running": True, **known})
    else:
        out.print(_table(rows))
    healthy = state.ready and all(row["state"] in ("running", "external") for row in rows)
    raise typer.Exit(0 if healthy else 4)


@app.command(epilog="Example: headrace down --timeout 30")
def down(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds that a clean stop may take.")
    ] = _DOWN_TIMEOUT_S,
) -> None:
    """Stop a running `headrace up` cleanly. Data stays in the data folder."""
    try:
        state = Home(data_dir).status()
    except NotRunning as fault:
        progress(str(fault))
        return
    supervisor = psutil.Process(state.supervisor_pid)
    progress("stopping …")
    supervisor.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs([supervisor], timeout=timeout_s)
    if alive:
        fail(f"pid {state.supervisor_pid} has not stopped within {timeout_s:.0f} s; see {data_dir}/log")
        raise typer.Exit(1)
    progress("stopped")


def _rss_bytes(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("role", "state", "pid", "port", "memory", "restarts"):
        table.add_column(column, justify="left" if column in ("role", "state") else "right")
    for row in rows:
        colour = _COLOURS.get(row["state"], "yellow")
        state = f"[{colour}]{row['state']}[/{colour}]"
        pid, port = str(row["pid"] or ""), str(row["port"] or "")
        table.add_row(row["role"], state, pid, port, _megabytes(row["rss_bytes"]), str(row["restarts"]))
        if row["standby_pid"]:
            memory = _megabytes(_rss_bytes(row["standby_pid"]) or 0)
            table.add_row("", "[dim]standby[/dim]", str(row["standby_pid"]), "", memory, "")
    return table


def _megabytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 2**20:.0f} MB"
