"""One simulator on a real socket for all tests of this folder, reset before each."""

import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from headrace.simulator.app import build_server, create_app, listen


@pytest.fixture(scope="package")
def address() -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    server = build_server(create_app(seed=7))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive()


class Operator:
    """The operator's side of the simulator: behaviour and invoice."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def behave(self, **behaviour: Any) -> None:
        self.http.put("/behaviour", json=behaviour).raise_for_status()

    def fault(self, kind: str, **settings: Any) -> None:
        often = {} if settings.keys() & {"rate", "next_calls"} else {"rate": 1}
        self.behave(faults=[{"kind": kind, **often, **settings}])

    def invoice(self, **query: str) -> dict[str, Any]:
        response = self.http.get("/invoice", params=query)
        response.raise_for_status()
        invoice: dict[str, Any] = response.json()
        return invoice

    def billed(self) -> dict[str, Any]:
        """The one call on the invoice."""
        items = self.invoice()["items"]
        assert len(items) == 1, items
        item: dict[str, Any] = items[0]
        return item


@pytest.fixture(scope="package")
def control(address: str) -> Iterator[Operator]:
    with httpx.Client(base_url=address, timeout=5) as http:
        yield Operator(http)


@pytest.fixture
def operator(control: Operator) -> Operator:
    """The operator of a simulator that is as new."""
    control.http.delete("/behaviour").raise_for_status()
    control.http.delete("/invoice").raise_for_status()
    return control


# One client of each SDK for all tests: making one loads certificates, which takes longer than a test.
@pytest.fixture(scope="package")
def openai_client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="sk-test", max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture(scope="package")
def anthropic_client(address: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=address, api_key="sk-ant-test", max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
def gpt(openai_client: openai.OpenAI, operator: Operator) -> openai.OpenAI:
    return openai_client


@pytest.fixture
def claude(anthropic_client: anthropic.Anthropic, operator: Operator) -> anthropic.Anthropic:
    return anthropic_client
