"""Which format a caller gets."""

import pytest

from analytics.reports.query import WrongParameter, chosen_format


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/csv", "csv"),
        ("Text/CSV; charset=utf-8", "csv"),
        ("application/vnd.apache.arrow.stream", "arrow"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "json"),
        ("application/json;q=0.1, text/csv;q=0.9", "csv"),
        ("text/csv;q=0, */*;q=0.5", "json"),
        ("text/*", "csv"),
        ("application/xml, application/*;q=0.2", "json"),
        ("text/csv;q=nonsense, application/json;q=0.1", "json"),
    ],
)
def test_the_header_accept_decides(accept: str, name: str) -> None:
    """The most wanted format that there is; JSON for who does not care."""
    assert chosen_format(None, accept).name == name


@pytest.mark.parametrize("name", ["json", "csv", "arrow"])
def test_the_parameter_goes_first(name: str) -> None:
    """Browsers' addresses cannot set a header."""
    assert chosen_format(name, "text/csv").name == name


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    """By name and by header, each with a code of its own."""
    with pytest.raises(WrongParameter, match="json, csv, arrow") as by_name:
        chosen_format("xlsx", "")
    assert (by_name.value.code, by_name.value.param) == ("unknown_format", "format")
    with pytest.raises(WrongParameter, match=r"vnd\.apache\.arrow") as by_header:
        chosen_format(None, "application/xml, image/png")
    assert by_header.value.code == "not_acceptable"
