"""Models and providers by control records, as a new user adds them: ten lines, and priced answers come."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import System, headrace, unique, wait_for

pytestmark = pytest.mark.acceptance

#: An Ollama-like server: the simulator under another name, which knows the model as `gpt-4o-mini`.
TEN_LINES = """
providers:
  ollama-like: {{protocol: openai, base_url: "{simulator}/v1", api_key_env: OPENAI_API_KEY}}
models:
  house-model:
    provider: ollama-like
    upstream_name: gpt-4o-mini
    aliases: [house]
    context_window_tokens: 128000
    max_output_tokens: 4096
    price: {{input_usd_per_million: "{input_usd}", output_usd_per_million: 8}}
"""


def applied(system: System, folder: Path, *, input_usd: str) -> None:
    """Apply the file."""
    file = folder / "headrace.yaml"
    file.write_text(TEN_LINES.format(simulator=system.endpoints.simulator, input_usd=input_usd))
    headrace("apply", "-f", str(file), data_dir=system.data_dir)


def answered(system: System, model: str) -> dict[str, Any]:
    """The row of a question to a model."""
    response = system.chat(unique("Whose price is this?"), model=model)
    assert response.status_code == 200, response.text
    return system.row(response.json()["request_id"])


def call_of(system: System, row: dict[str, Any]) -> dict[str, Any]:
    """The row of the one call of a request."""
    query = "SELECT * FROM llm_calls WHERE request_id = {id:String}"
    (call,) = wait_for(lambda: system.sql(query, id=row["request_id"]), 20)
    return dict(call)


def test_a_new_provider_and_its_model_answer_at_the_price_of_the_record(
    healthy: System, tmp_path: Path
) -> None:
    """By name and by alias; a new price is live, the old call keeps its own; taken away, nothing is left."""
    system = healthy
    applied(system, tmp_path, input_usd="4")
    assert wait_for(lambda: "house-model" in system.http.get("/v1/models").text, 30)
    wait_for(lambda: system.chat("Is the worker there?", model="house").status_code == 200, 30)
    row = answered(system, "house")
    assert (row["provider"], row["model"]) == ("ollama-like", "house-model")
    call = call_of(system, row)
    assert call["price_version"] == "model:house-model@1"
    usd = (Decimal(4) * call["input_tokens"] + Decimal(8) * call["output_tokens"]) / 1_000_000
    assert Decimal(call["cost_usd"]) == usd > 0

    applied(system, tmp_path, input_usd="5")
    dearer = wait_for(
        lambda: (
            new
            if (new := call_of(system, answered(system, "house-model")))["price_version"].endswith("@2")
            else None
        ),
        60,
    )
    usd = (Decimal(5) * dearer["input_tokens"] + Decimal(8) * dearer["output_tokens"]) / 1_000_000
    assert Decimal(dearer["cost_usd"]) == usd
    assert call_of(system, row)["cost_usd"] == call["cost_usd"]

    headrace("control", "remove", "model", "house-model", data_dir=system.data_dir)
    headrace("control", "remove", "provider", "ollama-like", data_dir=system.data_dir)
    refused = wait_for(
        lambda: (
            found
            if (found := system.chat(unique("Still there?"), model="house-model")).status_code == 404
            else None
        ),
        30,
    )
    assert refused is not None
    assert refused.json()["error"]["code"] == "model_not_found"
