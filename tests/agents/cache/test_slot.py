"""Which requests may share an answer."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cache.slot import NOT_ASKED, cache_slot
from streams.events import CacheSlot, ChatRequested, InputVerdict, Message, PromptRef, TextPart
from tests.fakes.envelopes import NOW, chat, envelope, said

#: With the characters by which fields might be run together.
TEXT = st.text(st.sampled_from('ab"\\,[]\x1e\x1f\n '), max_size=4)
NAME = TEXT.filter(bool)

PARTS: dict[str, st.SearchStrategy[Any]] = {
    "tenant": NAME,
    "user_id": NAME,
    "session_id": st.none() | NAME,
    "model": st.none() | NAME,
    "prompt": st.tuples(NAME, NAME),
    "variables": st.none() | st.dictionaries(NAME, TEXT, max_size=2),
    "history": st.none()
    | st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), NAME), max_size=2),
    "temperature": st.none() | st.sampled_from([0.0, 0.5]),
    "top_p": st.none() | st.sampled_from([0.1, 1.0]),
    "max_tokens": st.none() | st.sampled_from([1, 2]),
    "stop": st.none() | st.lists(NAME, max_size=2).map(tuple),
    "seed": st.none() | st.integers(0, 1),
    "response_format": st.none() | st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
    "pii": st.booleans(),
    "vectors": NAME,
}
FIELDS = sorted(PARTS)
CASE = st.fixed_dictionaries(PARTS)


def slot_of(case: dict[str, Any], text: str = "the question") -> CacheSlot | None:
    case = dict(case)
    checked_by = case.pop("checked_by", "")
    history, prompt, pii, vectors = (case.pop(name) for name in ("history", "prompt", "pii", "vectors"))
    tenant = case.pop("tenant")
    asked: dict[str, Any] = {"query": text}
    messages: tuple[Message, ...] = (said("user", f"rendered {text}"),)
    if history is not None:
        messages = (*(said(role, content) for role, content in history), said("user", text))
        asked = {"query": None, "messages": messages}
    verdict = InputVerdict(passed=True, pii_types=("email",) if pii else ())
    made = envelope(chat(**case, **asked), tenant=tenant, input_verdict=verdict)
    ref = PromptRef(name=prompt[0], version=prompt[1]) if history is None else None
    model = case["model"] or ""
    return cache_slot(made, messages, ref, model=model, vectors=vectors, checked_by=checked_by)


def identity(case: dict[str, Any]) -> Any:
    """What must be equal for two requests to share an answer, as plain data."""
    private = case["pii"] or case["session_id"] is not None
    return {
        **case,
        "user_id": case["user_id"] if private else None,
        "prompt": case["prompt"] if case["history"] is None else None,  # messages are rendered already
        "pii": None,
        "session_id": case["session_id"] or "",
        "model": case["model"] or "",
        "variables": {name: text for name, text in (case["variables"] or {}).items() if name != "query"},
        "private": private,
    }


@given(one=CASE, other=CASE, field=st.sampled_from(FIELDS))
def test_requests_share_a_scope_exactly_where_nothing_that_matters_differs(
    one: dict[str, Any], other: dict[str, Any], field: str
) -> None:
    """Two requests that differ in one field, and two that differ in all: no luck, no separators."""
    for first, second in ((one, other), (one, one | {field: other[field]})):
        mine, theirs = slot_of(first), slot_of(second)
        assert mine is not None
        assert theirs is not None
        assert (mine.scope == theirs.scope) == (identity(first) == identity(second))


BASE: dict[str, Any] = {
    "tenant": "acme",
    "user_id": "ann",
    "session_id": None,
    "model": None,
    "prompt": ("general_chat", "v1"),
    "variables": {"tone": "kind"},
    "history": None,
    "temperature": None,
    "top_p": None,
    "max_tokens": None,
    "stop": None,
    "seed": None,
    "response_format": None,
    "pii": False,
    "vectors": "minilm",
}


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "zeta"},
        {"session_id": "s"},
        {"model": "gpt-4o"},
        {"prompt": ("general_chat", "v2")},
        {"prompt": ("rag_answer", "v1")},
        {"variables": {"tone": "rude"}},
        {"history": [("system", "be brief")]},
        {"temperature": 0.0},
        {"max_tokens": 5},
        {"stop": ("x",)},
        {"seed": 1},
        {"response_format": {"type": "json_object"}},
        {"pii": True},
        {"vectors": "minilm-2"},
        {"checked_by": "a stricter policy"},
    ],
    ids="-".join,
)
def test_each_difference_keeps_answers_apart(change: dict[str, Any]) -> None:
    """One by one, beside the property."""
    one, other = slot_of(BASE), slot_of(BASE | change)
    assert one is not None
    assert other is not None
    assert one.scope != other.scope
    assert one.exact_key == other.exact_key


def test_another_user_may_have_the_same_answer() -> None:
    """A question without personal data is anybody's."""
    assert slot_of(BASE) == slot_of(BASE | {"user_id": "bob"})


@pytest.mark.parametrize("private", [{"pii": True}, {"session_id": "s"}], ids=["pii", "session"])
def test_private_answers_stay_with_their_user(private: dict[str, Any]) -> None:
    """Redacted data is gone from the text, and may show in the answer; so may a session."""
    one, other = slot_of(BASE | private), slot_of(BASE | private | {"user_id": "bob"})
    assert one is not None
    assert other is not None
    assert one.scope != other.scope


def test_a_conversation_is_part_of_the_scope() -> None:
    """A question such as "and in winter?" has as many answers as there are conversations before it."""
    paris = slot_of(
        BASE | {"history": [("user", "museums in Paris?"), ("assistant", "mild")]}, "and in winter?"
    )
    oslo = slot_of(
        BASE | {"history": [("user", "museums in Oslo?"), ("assistant", "mild")]}, "and in winter?"
    )
    assert paris is not None
    assert oslo is not None
    assert (paris.text, oslo.text) == ("and in winter?", "and in winter?")
    assert paris.scope != oslo.scope


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": ({"type": "function", "function": {"name": "f"}},)},
        {"tool_choice": "auto"},
        {
            "query": None,
            "messages": (said("user", "q"), Message(role="tool", content="42", tool_call_id="c")),
        },
        {"query": None, "messages": (said("user", "q"), said("assistant", "a"))},
    ],
)
def test_answers_that_act_are_not_kept(fields: dict[str, Any]) -> None:
    """A tool's result is of its moment, and only a user's question is asked again."""
    made = envelope(chat(**fields))
    assert cache_slot(made, made.request.messages or (said("user", "q"),), None, model="m") is None


def test_blanks_mean_nothing_on_one_line_and_something_on_several() -> None:
    """How code is indented changes what it does."""
    assert slot_of(BASE, "  what   is\tthis ") == slot_of(BASE, "what is this")
    one, other = slot_of(BASE, "if x:\n  a()\n  b()"), slot_of(BASE, "if x:\n  a()\nb()")
    assert one is not None
    assert other is not None
    assert (one.scope, one.exact_key == other.exact_key) == (other.scope, False)


def test_a_slot_does_not_show_what_is_in_it() -> None:
    """Scope and key are hashes: no text and no tenant in the store's keys."""
    slot = slot_of(BASE)
    assert slot is not None
    assert len(slot.scope) == len(slot.exact_key) == 32
    assert "acme" not in msgspec.json.encode(slot).decode()


def slot_for(**fields: Any) -> CacheSlot | None:
    """The slot of a conversation with these fields."""
    messages = fields.setdefault("messages", (said("user", "q"),))
    made = envelope(chat(query=None, **fields))
    return cache_slot(made, messages, None, model="gpt-4o", max_temperature=1.0)


def _filled(kind: msgspec.inspect.Type) -> Any:
    """A value of a type that no field has by default."""
    value = _PLAIN.get(type(kind))
    match kind:
        case msgspec.inspect.UnionType(types=types):
            value = next(each for each in map(_filled, types) if each is not None)
        case msgspec.inspect.VarTupleType(item_type=item):
            value = (_filled(item),)
        case msgspec.inspect.LiteralType(values=values):
            value = values[0]
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            value = cls(**{field.name: _filled(field.type) for field in fields if field.required})
    return value


_PLAIN: dict[type[msgspec.inspect.Type], Any] = {
    msgspec.inspect.StrType: "other",
    msgspec.inspect.BoolType: True,
    msgspec.inspect.IntType: 1,
    msgspec.inspect.FloatType: 0.5,
    msgspec.inspect.DictType: {"k": "other"},
    msgspec.inspect.DateTimeType: NOW,
}
REQUEST = msgspec.inspect.type_info(ChatRequested)
assert isinstance(REQUEST, msgspec.inspect.StructType)


@pytest.mark.parametrize("field", REQUEST.fields, ids=lambda field: field.name)
def test_every_parameter_is_part_of_the_question(field: msgspec.inspect.Field) -> None:
    """But for those that are named, with the reason: a field that comes to requests later is one too."""
    if field.name in NOT_ASKED:
        assert NOT_ASKED[field.name]
        return
    one, other = slot_for(), slot_for(**{field.name: _filled(field.type)})
    assert one is not None
    assert other is None or other.scope != one.scope


def test_how_a_call_is_served_is_no_part_of_the_question() -> None:
    """A tier, or a hint for the provider's cache, gives no other answer; what the table does not know may."""
    one = slot_for()
    for name in ("service_tier", "prompt_cache_key", "store"):
        assert slot_for(params={name: "x"}) == one
    for name in ("reasoning_effort", "verbosity", "guided_json"):
        other = slot_for(params={name: "x"})
        assert one is not None
        assert other is not None
        assert other.scope != one.scope


def test_what_is_no_part_of_the_question_is_a_field() -> None:
    """The list names nothing that is gone."""
    assert set(NOT_ASKED) <= set(ChatRequested.__struct_fields__)


@pytest.mark.parametrize(
    "messages",
    [
        (Message(role="user", content="q", name="Ann"),),
        (said("system", "be brief"), said("user", "q")),
        (Message(role="user", content=(TextPart(text="q"), TextPart(text=""))),),
        (Message(role="system", content="", name="Ann"), said("user", "q")),
    ],
)
def test_all_of_a_conversation_but_the_last_text_is_in_the_scope(messages: tuple[Message, ...]) -> None:
    """Whose words they are, say: Bob must not get Ann's answer."""
    one, other = slot_for(), slot_for(messages=messages)
    assert one is not None
    assert other is not None
    assert one.scope != other.scope


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1.1},
        {"messages": (said("user", "What's the weather today?"),)},
        {
            "messages": (
                said("user", "Weather in Rome?"),
                said("assistant", "mild"),
                said("user", "And Oslo?"),
            )
        },
    ],
)
def test_what_would_be_answered_otherwise_next_time_is_not_shared(fields: dict[str, Any]) -> None:
    """Variety that was asked for, and whatever depends on the time, by any question of the conversation."""
    assert slot_for(**fields) is None


def test_blanks_in_quotes_mean_something() -> None:
    """How many there are may be the question."""
    one, other = slot_of(BASE, 'Split "a  b"'), slot_of(BASE, 'Split "a b"')
    assert one is not None
    assert other is not None
    assert one.exact_key != other.exact_key
