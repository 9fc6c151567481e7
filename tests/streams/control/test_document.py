"""`headrace.yaml`."""

import json
from pathlib import Path

import jsonschema
import pytest

from streams.control.document import document_schema, read_document, shipped_records
from streams.control.specs import SECTIONS, ControlId, InvalidControl, LimitSpec
from streams.control.state import ControlState

SCHEMA = Path(__file__).parents[3] / "docs" / "headrace.schema.json"


def test_a_file_is_read_by_section_and_name() -> None:
    """What is null is taken away; a name may look like a number."""
    text = "limits:\n  free: {per_user: {requests_per_minute: 5}}\n  old:\n  7: {}\nkeys:\n"
    assert read_document(text) == {
        ControlId("limit", "free"): {"per_user": {"requests_per_minute": 5}},
        ControlId("limit", "old"): None,
        ControlId("limit", "7"): {},
    }
    assert read_document("") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("limits: [1]", "limits must be names"),
        ("- limits", "must have sections"),
        ("limit: {}", "no section 'limit'; there are: limits"),
        ("limits: {free: {per_user: {requests: 1}}}", "limits.free.per_user: .*`requests`"),
        ("limits: {free: [}", "no YAML"),
        ("limits: {free: {per_user: {requests_per_minute: 5}}, free: {}}", "'free' is there twice"),
        ("limits:\n  free: {}\nlimits: {}", "'limits' is there twice"),
        ("limits: &a [*a]", "limits must be names"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
        ("x" * 5_000_000, "larger than"),
    ],
)
def test_a_wrong_file_is_refused(text: str, told: str) -> None:
    """With where it is wrong; nothing in it is ever run."""
    with pytest.raises(InvalidControl, match=told):
        read_document(text)


def test_the_shipped_records_are_right_and_hold_without_any_record() -> None:
    """The tiers of the source documents: 10 to 100 requests a minute, and one without limits."""
    tiers = ControlState().specs(LimitSpec)
    a_minute = {name: tier.per_user.requests_per_minute for name, tier in tiers.items()}
    assert a_minute == {"free": 10, "standard": 50, "premium": 100, "unlimited": None}
    ControlState().check()


def test_the_schema_takes_what_is_shipped_and_refuses_a_misspelling() -> None:
    """Editors check with it, and it is the one in docs/."""
    schema = document_schema()
    shipped: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for of, spec in shipped_records().items():
        shipped[next(each for each, kind in SECTIONS.items() if kind == of.kind)][of.name] = spec
    jsonschema.validate(shipped, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"limits": {"free": {"per_usr": {}}}}, schema)
    # made by: headrace control schema > docs/headrace.schema.json
    assert json.loads(SCHEMA.read_text("utf-8")) == json.loads(json.dumps(schema))
