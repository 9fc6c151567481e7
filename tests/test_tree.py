"""The source tree stays one that a newcomer can read: docs/decisions/0010-layout.md."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("streams", "ingest", "agents", "analytics", "headrace")
#: The most modules that stand side by side in a folder, without its `__init__`.
MAX_MODULES = 15
MAX_LINES = 300
#: `__init__` says what lives in a package; beyond this it would be a module.
MAX_INIT_LINES = 80

#: A path of the source in backticks. Names in capitals stand for any name.
PATH = re.compile(r"`((?:streams|ingest|agents|analytics|headrace|tests|bench|scripts)/[\w/.*-]+)`")
#: A module or a package in backticks.
MODULE = re.compile(r"`([a-z][a-z_.]+/?)`")
#: The page about a stage that does not exist yet, and the stage.
EXAMPLE = ("docs/adding-a-stage.md", "agents/denylist/")


def modules() -> Iterator[Path]:
    """Every module of the source."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def named(path: Path) -> str:
    """Return the path as it reads in a message."""
    return path.relative_to(ROOT).as_posix()


def test_no_folder_is_crowded() -> None:
    """Fifteen modules side by side are what the eye takes in; more want a package."""
    side_by_side = Counter(path.parent for path in modules() if path.name != "__init__.py")
    crowded = {named(folder): count for folder, count in side_by_side.items() if count > MAX_MODULES}
    assert not crowded


def test_no_file_is_long() -> None:
    """A file holds one concern."""
    long = {named(path): count for path in modules() if (count := path.read_text().count("\n")) > MAX_LINES}
    assert not long


def test_no_class_name_is_defined_twice() -> None:
    """A class name means one thing, so that a search for it finds one definition."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(named(path))
    assert not {name: where for name, where in found.items() if len(where) > 1}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_lives_in_it(package: str) -> None:
    """The docstring of each `__init__` is the first thing that a newcomer reads of a folder."""
    for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
        text = (folder / "__init__.py").read_text()
        assert ast.get_docstring(ast.parse(text)), named(folder)
        assert text.count("\n") <= MAX_INIT_LINES, named(folder)


def test_every_module_that_a_package_names_exists() -> None:
    """`__init__` says where to begin: a reader goes there."""
    missing = []
    for init in (path for path in modules() if path.name == "__init__.py"):
        for name in MODULE.findall(ast.get_docstring(ast.parse(init.read_text())) or ""):
            places = (base / name.rstrip("/").replace(".", "/") for base in (init.parent, ROOT))
            if not any(place.is_dir() or place.with_suffix(".py").is_file() for place in places):
                missing.append((named(init), name))
    assert not missing


def test_every_path_that_the_pages_name_exists() -> None:
    """A page that names a moved file sends its reader the wrong way."""
    missing = []
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for path in PATH.findall(page.read_text(encoding="utf-8")):
            example = named(page) == EXAMPLE[0] and path.startswith(EXAMPLE[1])
            if not (example or re.search(r"[A-Z]{4}", path) or any(ROOT.glob(path.rstrip("/")))):
                missing.append((named(page), path))
    assert not missing
