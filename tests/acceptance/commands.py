"""Runs headrace commands as `python -m headrace` does, but in forks of a process that has imported it.

Starting Python and importing the command line takes two seconds of processor time, and the tests run a
hundred commands.
"""

import atexit
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


class CommandServer:
    """The process that runs the commands, one after another. It ends with the tests."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.commands"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._end)

    def run(
        self, arguments: list[str], *, env: Mapping[str, str], cwd: Path, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with nothing on its stdin; it is killed at the time-out."""
        with self._turn, tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            said = {"env": dict(env), "cwd": str(cwd), "out": str(out), "err": str(err)}
            pid = int(self._ask({"arguments": arguments, **said}))
            timer = threading.Timer(timeout_s, os.kill, (pid, signal.SIGKILL))
            timer.start()
            try:
                status = int(self._ask(None))
            finally:
                timer.cancel()
            return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())

    def _ask(self, request: Any) -> str:
        """Send a request, if there is one, and return the next line of the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if request is not None:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that runs the commands has ended"
        return line

    def _end(self) -> None:
        with self._process:  # which closes its pipes, and waits
            pass


@cache
def server() -> CommandServer:
    """The server of this test process, started when the first command is run."""
    return CommandServer()


def _serve() -> None:
    """Run what is asked for on stdin; say the pid of each command at its start, and at its end the status."""
    import headrace.cli  # here, not in the tests' own process

    for module in pkgutil.iter_modules(headrace.cli.__path__):
        import_module(f"headrace.cli.{module.name}")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(request, headrace.cli.main)
        print(pid, flush=True)  # noqa: T201  # the answer
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  # the answer


def _become(request: dict[str, Any], main: Any) -> None:
    """Turn this process into the command, and end it with its status, without what runs at Python's exit."""
    status = 1
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for number, path in ((1, request["out"]), (2, request["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.argv = ["headrace", *request["arguments"]]
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001  # as Python itself does
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
