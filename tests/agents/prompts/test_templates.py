"""Rendering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.prompts import PromptTemplate
from streams.errors import InvalidRequest


def template(text: str) -> PromptTemplate:
    return PromptTemplate(name="t", version="v3", text=text)


def test_placeholders_are_replaced() -> None:
    """Each wherever it stands; variables that the template does not name are ignored."""
    prompt = template("{query}: {context} ({query})")
    assert prompt.placeholders == ("query", "context")
    assert prompt.render({"query": "q", "context": "c", "other": "x"}) == "q: c (q)"


def test_a_missing_variable_is_named() -> None:
    """The first one, as the path that the sender would have to fill."""
    with pytest.raises(InvalidRequest, match=r"template t v3 needs variables.context") as caught:
        template("{query} {context} {code}").render({"query": "q"})
    assert (caught.value.code, caught.value.param) == ("missing_variable", "variables.context")


@pytest.mark.parametrize(
    "value",
    [
        "{context}",
        "{query}",
        "{{query}}",
        "{0}",
        "{query!r}",
        "{query.__class__}",
        "%s",
        "\\1\\g<0>",
        "{",
        "}",
        "",
    ],
)
def test_values_are_never_interpreted(value: str) -> None:
    """Whatever a user writes is text: it neither opens another variable nor breaks the rendering."""
    rendered = template("Q: {query} / {context}").render({"query": value, "context": "secret"})
    assert rendered == f"Q: {value} / secret"


@given(first=st.text(), second=st.text())
def test_any_two_values_stand_where_they_were_put(first: str, second: str) -> None:
    """Unchanged, down to the last character."""
    assert template("<{a}|{b}>").render({"a": first, "b": second}) == f"<{first}|{second}>"


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "{}", "{ query }", "{Query}", "{1}", "a { b } c", "{{", "f(x) { return; }"]
)
def test_other_braces_stand_for_themselves(text: str) -> None:
    """Templates hold JSON and code."""
    assert template(text).placeholders == ()
    assert template(text).render({"query": "q"}) == text


def test_the_instructions_are_the_template_without_its_placeholders() -> None:
    """What an answer must not give away; the user's own words are not part of it."""
    assert template("Be brief. {query} Answer:").instructions.split() == ["Be", "brief.", "Answer:"]
