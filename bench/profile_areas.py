"""Where a process spends its time, by area: `py-spy record --format raw` read and added up.

py-spy is no dependency of Headrace; `pip install py-spy` anywhere and name its path. It needs the right to
trace the process (root, or `kernel.yama.ptrace_scope` 0).
"""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

_RATE_HZ = 200
_FRAME = re.compile(r"^(?P<function>.*) \((?P<path>[^()]*?)(?::\d+)?\)$")
_PACKAGE = re.compile(r"site-packages/(?P<name>[^/]+?)(?:\.py)?(?:/|$)")
_CHECKOUT = str(Path(__file__).parents[1])
_TOP = 30
_END_GRACE_S = 30

#: A library that works for another one is booked on the one that we call.
_CALLED_BY_US = frozenset(
    {
        "aiohttp",
        "aiokafka",
        "faust",
        "mode",
        "redis",
        "structlog",
        "onnxruntime",
        "tokenizers",
        "numpy",
    }
)


class Profiler:
    """Samples a process while it works.

    Args:
        py_spy: the program.
        pid: of the process.
    """

    def __init__(self, py_spy: Path, pid: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-profile-")
        self._stacks = Path(self._folder.name) / "stacks"
        command = [str(py_spy), "record", "--pid", str(pid), "--rate", str(_RATE_HZ), "--nonblocking"]
        command += ["--format", "raw", "--full-filenames", "--duration", "unlimited"]
        command += ["--output", str(self._stacks)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self) -> list[str]:
        """Stop sampling and return the table.

        Raises:
            RuntimeError: py-spy did not work; with what it said.
        """
        self._process.send_signal(2)  # SIGINT: write the file and end
        _, said = self._process.communicate(timeout=_END_GRACE_S)
        if not self._stacks.exists():
            raise RuntimeError(f"py-spy recorded nothing: {said.decode(errors='replace').strip()}")
        with self._folder:
            return table(self._stacks.read_text())


def table(stacks: str) -> list[str]:
    """Return areas and functions by their share of the samples, most first."""
    areas, own, total = Counter[str](), Counter[str](), 0
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if "(" in frame]
        if not frames or not count.isdigit():
            continue
        total += int(count)
        areas[_area(frames)] += int(count)
        own[_short(frames[-1])] += int(count)
    lines = [f"{total} samples; by area:"]
    lines += [f"  {100 * count / total:5.1f} %  {area}" for area, count in areas.most_common()]
    lines.append("by function, own time:")
    lines += [f"  {100 * count / total:5.1f} %  {name}" for name, count in own.most_common(_TOP)]
    return lines


def _area(frames: list[str]) -> str:
    """Return the innermost library that our own code calls directly, or our own package."""
    for frame in reversed(frames):
        match = _FRAME.match(frame)
        path = match["path"] if match else ""
        package = _PACKAGE.search(path)
        if package and package["name"] in _CALLED_BY_US:
            return package["name"]
        if path.startswith(_CHECKOUT) and "site-packages" not in path:
            return "ours: " + "/".join(Path(path).relative_to(_CHECKOUT).parts[:2])
    return "event loop and rest"


def _short(frame: str) -> str:
    match = _FRAME.match(frame)
    if match is None:
        return frame
    path = match["path"]
    return f"{match['function']} ({path.rpartition('site-packages/')[2].removeprefix(_CHECKOUT + '/')})"
