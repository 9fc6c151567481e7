"""The examples of docs/models.md are good records."""

import re
from pathlib import Path

import jsonschema
import msgspec

from streams.control.catalogue import ModelCatalogue
from streams.control.document import document_schema
from streams.control.specs import SECTIONS
from tests.fakes.model_records import record, state_of

PAGE = Path(__file__).parents[3] / "docs" / "models.md"


def test_the_examples_can_be_applied_together() -> None:
    """So a newcomer can begin with any of them."""
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    records = [
        record(SECTIONS[section], name, spec)
        for example in examples
        for section, found in msgspec.yaml.decode(example).items()
        for name, spec in found.items()
    ]
    assert len(examples) == 3
    state = state_of(*records)
    state.check()
    catalogue = ModelCatalogue.of(state)
    assert {"llama3.2", "qwen", "mistral-large"} < catalogue.chat.keys()
    assert catalogue.embedding["bge-m3"].provider == "vllm"
    assert catalogue.chat["gpt-4o"].price_version == "model:gpt-4o@1"


def test_the_examples_are_what_editors_are_told() -> None:
    """A price may be a number or a text."""
    for example in re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        jsonschema.validate(msgspec.yaml.decode(example), document_schema())
