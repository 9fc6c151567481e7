"""`headrace status` and `headrace down`."""

import signal
from typing import Annotated, Any

import msgspec
import psutil
import typer
from rich.table import Table

from headrace.cli.console import DEFAULT_DATA_DIR, AsJson, DataDir, fail, out, print_json, progress
from headrace.up.home import Home, NotRunning

_DOWN_TIMEOUT_S = 90.0
_COLOURS = {"running": "green", "external": "blue", "failed": "red", "stopped": "red"}


app = typer.Typer()


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
