"""Requests with any one part replaced by anything; loading an SDK's types without its clients."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.simulator.request_validation import load_types
from tests.headrace.simulator.conftest import Operator

_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "minLength": 1}, "b": {"enum": [1]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
_OPENAI = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hello json"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": _SCHEMA, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": _SCHEMA}},
    "stop": ["x"],
    "max_tokens": 50,
    "stream": False,
    "stream_options": None,
    "metadata": {"k": "v"},
}
_ANTHROPIC = {
    "model": "claude-3-opus",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "be brief"}],
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "1"}]},
    ],
    "tools": [{"name": "f", "input_schema": _SCHEMA}],
    "tool_choice": {"type": "tool", "name": "f"},
    "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}},
    "stop_sequences": ["x"],
    "metadata": {"user_id": "u"},
}
_EMBEDDINGS = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 4}
_ENDPOINTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", _OPENAI),
    ("/v1/messages", _ANTHROPIC),
    ("/v1/embeddings", _EMBEDDINGS),
]
_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: list[tuple[Any, ...]] = []
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        inner += [(*here, key), *_paths(value[key], (*here, key))]
    return inner


_PLACES = [(path, body, place) for path, body in _ENDPOINTS for place in _paths(body)]


@settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(where=st.sampled_from(_PLACES), replacement=_ANYTHING)
def test_no_request_breaks_the_simulator(
    operator: Operator, where: tuple[str, dict[str, Any], tuple[Any, ...]], replacement: Any
) -> None:
    """Whatever stands in one place of a good request, the answer is a 200, 400 or 404 with a message."""
    path, good, place = where
    body: Any = copy.deepcopy(good)
    parent = body
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = replacement
    headers = {"authorization": "Bearer sk-1", "anthropic-version": "2026-10-21"}
    response = operator.http.post(path, json=body, headers=headers)
    assert response.status_code in {200, 400, 404}, response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]


def test_the_requests_that_are_varied_are_good(operator: Operator) -> None:
    """The three requests are answered as they stand."""
    headers = {"authorization": "Bearer sk-1", "anthropic-version": "2026-10-21"}
    for path, body in _ENDPOINTS:
        assert operator.http.post(path, json=body, headers=headers).status_code == 200


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
