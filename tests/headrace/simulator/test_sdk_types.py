"""Loading an SDK's types without its clients."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.simulator.sdk_types import load_types

PACKAGES = ("fake_sdk", "fake_sdk.types")


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """An SDK whose package has code of its own; returns what reads a type of it."""
    types = tmp_path / "fake_sdk" / "types"
    types.mkdir(parents=True)
    (tmp_path / "fake_sdk" / "__init__.py").write_text("client = 'loaded'")
    (types / "__init__.py").write_text("")
    (types / "params.py").write_text("name = 'params'")
    (types / "odd.py").write_text("from fake_sdk import client")
    monkeypatch.syspath_prepend(tmp_path)

    def load() -> str:
        from fake_sdk.types.params import name

        return str(name) + (" with client" if hasattr(sys.modules["fake_sdk"], "client") else "")

    return load


def test_the_types_come_without_the_client(sdk: Callable[[], str]) -> None:
    """And a later import loads all of the SDK."""
    assert load_types(sdk, *PACKAGES) == "params"
    assert not any(name.startswith("fake_sdk") for name in sys.modules)
    assert sdk() == "params with client"
    assert load_types(sdk, *PACKAGES) == "params with client"
    for name in [name for name in sys.modules if name.startswith("fake_sdk")]:
        del sys.modules[name]


def test_an_sdk_whose_types_need_its_client_is_loaded_whole(sdk: Callable[[], str]) -> None:
    """Another version of the SDK may have another layout."""

    def load() -> str:
        from fake_sdk.types import odd

        return sdk() + f" {odd.client}"

    assert load_types(load, *PACKAGES) == "params with client loaded"
    for name in [name for name in sys.modules if name.startswith("fake_sdk")]:
        del sys.modules[name]
