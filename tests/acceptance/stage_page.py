"""A copy of the source with a sixth stage for chat, added exactly as docs/adding-a-stage.md says."""

import re
import shutil
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "adding-a-stage.md"
_PACKAGES = ("streams", "ingest", "agents", "analytics", "headrace")
#: A path in backticks, and the next block of code: a whole file, or a change to one.
_BLOCK = re.compile(r"`([\w/]+\.py)`(?:(?!```|`[\w/]+\.py`).)*?```(python|diff)\n(.*?)```", re.DOTALL)
_FOLLOWING = re.compile(r"^\n*```diff\n(.*?)```", re.DOTALL)


def extended_source(tree: Path) -> list[str]:
    """Copy the source into a folder and make the changes of the page. Return the files that it changes."""
    for package in _PACKAGES:
        shutil.copytree(_ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    text, changed = _PAGE.read_text(), list[str]()
    for found in _BLOCK.finditer(text):
        path, kind, content = found.groups()
        file = tree / path
        changed.append(path)
        if kind == "python":
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
            continue
        _change(file, content)
        if more := _FOLLOWING.match(text[found.end() :]):
            _change(file, more[1])
    return changed


def _change(file: Path, diff: str) -> None:
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    source = file.read_text()
    assert source.count(before) == 1, f"the page does not fit {file.name}: {before}"
    file.write_text(source.replace(before, after))
