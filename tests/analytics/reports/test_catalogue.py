"""The catalogue: finding a query, and giving it its values."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from analytics.reports.catalogue import Catalogue
from analytics.reports.query import STANDARD, Query, UnknownQuery, WrongParameter
from streams.control.booked_prices import BookedPrices
from streams.model_catalogue import PRICE_VERSION, PRICED_MODELS
from tests.fakes.model_records import model as model_record

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)

TEXT = """\
-- title: Slow ones
-- group: latency
-- description: Requests that are slower
--     than a limit.
-- parameter: limit UInt32 1..50 = 20 | rows at most
-- parameter: above_ms Float64 = 1.5 | slower than this
-- parameter: model String | of this model
-- column: request_id [id] | the request
SELECT request_id FROM requests
WHERE accepted_at >= {since:DateTime64(6, 'UTC')} AND accepted_at < {until:DateTime64(6, 'UTC')}
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND latency_ms > {above_ms:Float64} AND model = {model:String}
LIMIT {limit:UInt32}
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """A catalogue of two queries."""
    (tmp_path / "slow_ones.sql").write_text(TEXT)
    (tmp_path / "cheap_ones.sql").write_text(TEXT.replace("group: latency", "group: cost"))
    (tmp_path / "notes.txt").write_text("not a query")
    return Catalogue.load(tmp_path)


@pytest.fixture
def query(catalogue: Catalogue) -> Query:
    """The query above."""
    return catalogue.get("slow_ones")


def test_queries_are_listed_by_group(catalogue: Catalogue) -> None:
    """Cost before latency, as the groups are named; other files are no queries."""
    assert catalogue.names() == ["cheap_ones", "slow_ones"]
    assert [each.group for each in catalogue] == ["cost", "latency"]


def test_a_query_has_its_documentation(query: Query) -> None:
    """What every query takes comes first; the SQL is without the comment."""
    assert query.description == "Requests that are slower than a limit."
    assert [parameter.name for parameter in query.parameters] == [
        "since",
        "until",
        "tenant",
        "limit",
        "above_ms",
        "model",
    ]
    assert query.parameters[:3] == STANDARD
    assert query.sql.startswith("SELECT request_id")


def test_what_is_not_given_has_its_default(query: Query) -> None:
    """Times are text in UTC with microseconds, whatever zone they were given in."""
    bound = query.bind({"model": "gpt-4o"}, now=NOW)
    assert bound.sql == query.sql
    assert bound.parameters == {
        "since": "2026-11-14 12:30:00.000000",
        "until": "2026-11-21 12:30:00.000000",
        "tenant": "",
        "limit": 20,
        "above_ms": 1.5,
        "model": "gpt-4o",
    }


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("90s", "2026-11-21 12:28:30.000000"),
        ("30m", "2026-11-21 12:00:00.000000"),
        ("24h", "2026-11-20 12:30:00.000000"),
        ("2w", "2026-11-07 12:30:00.000000"),
        ("99999d", "1970-01-01 00:00:00.000000"),
        ("2026-11-20", "2026-11-20 00:00:00.000000"),
        ("2026-11-20T08:00", "2026-11-20 08:00:00.000000"),
        ("2026-11-20T08:00:00.123456Z", "2026-11-20 08:00:00.123456"),
        ("2026-11-20T08:00+02:00", "2026-11-20 06:00:00.000000"),
        (datetime(2026, 11, 20, 8, tzinfo=UTC), "2026-11-20 08:00:00.000000"),
        (datetime(1, 1, 1, tzinfo=UTC), "1970-01-01 00:00:00.000000"),
    ],
)
def test_times(query: Query, given: object, meant: str) -> None:
    """Ages, dates and times; one without a zone is UTC; one that no row can have is the nearest that can."""
    assert query.bind({"model": "x", "since": given}, now=NOW).parameters["since"] == meant


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("since", "yesterday", "since: 'yesterday' is not a time"),
        ("since", "99999999999999d", "is not a time"),
        ("until", "", "is not a time"),
        ("since", "now", r"since \(.*\) must be earlier than until"),
        ("limit", "0", "limit must be 1 to 50, not '0'"),
        ("limit", 51, "limit must be 1 to 50, not 51"),
        ("limit", "many", "limit: 'many' is not a whole number"),
        ("limit", "1.5", "is not a whole number"),
        ("limit", True, "is not a whole number"),
        ("limit", 1 << 32, "is not a whole number"),
        ("above_ms", "nan", "is not a finite number"),
        ("above_ms", "inf", "is not a finite number"),
        ("tenant", "a\0b", "is not a text"),
        ("tenant", "x" * 1001, "is not a text"),
    ],
)
def test_a_wrong_value_is_named(query: Query, name: str, given: object, says: str) -> None:
    """With the parameter, what was given, and what it must be."""
    with pytest.raises(WrongParameter, match=says) as caught:
        query.bind({"model": "x", name: given}, now=NOW)
    assert caught.value.param == name


def test_a_value_that_must_be_given(query: Query) -> None:
    """There is no default for it."""
    with pytest.raises(WrongParameter, match="needs model: of this model"):
        query.bind({}, now=NOW)


def test_an_unknown_parameter_is_named_with_its_neighbour(query: Query) -> None:
    """And with all that there are."""
    with pytest.raises(WrongParameter, match=r"no parameter 'limt' \(did you mean limit\?\).*above_ms"):
        query.bind({"model": "x", "limt": 3}, now=NOW)


@pytest.mark.parametrize("asked", ["slow_one", "slow", "ones"])
def test_an_unknown_query_is_named_with_its_neighbours(catalogue: Catalogue, asked: str) -> None:
    """A slip of the keyboard, or a part of the name."""
    with pytest.raises(UnknownQuery, match=r"did you mean .*slow_ones") as caught:
        catalogue.get(asked)
    assert caught.value.code == "unknown_query"


def test_a_query_that_is_like_none(catalogue: Catalogue) -> None:
    """Then nothing is guessed."""
    with pytest.raises(UnknownQuery) as caught:
        catalogue.bind("xyzzy", {})
    assert "did you mean" not in str(caught.value)


def test_prices_are_those_of_this_headrace() -> None:
    """The shipped ones, or all that calls may have been booked at; nobody can hand in other ones."""
    split = Catalogue.load().get("cost_split")
    shipped = {
        (PRICE_VERSION, model.name, tier, long): msgspec.structs.astuple(
            model.rates(tier, long_context=bool(long))
        )
        for model in PRICED_MODELS.values()
        for tier in ("standard", *model.service_tiers)
        for long in ((0, 1) if model.long_context else (0,))
    }
    assert {row[:4]: row[4:] for row in split.bind({}).parameters["prices"]} == shipped
    prices = BookedPrices()
    prices.learn(model_record("m", version=2))
    rows = {row[:4]: row[4:] for row in split.bind({}, prices=prices).parameters["prices"]}
    assert rows == shipped | {("model:m@2", "m", "standard", 0): (0,) * 6}
    with pytest.raises(WrongParameter, match="current"):
        split.bind({"prices": [("x", "gpt-4o", 0, 0, 0)]})


def test_a_windows_end_may_lie_ahead(query: Query) -> None:
    """Clocks differ: the last moments of the present are not to be lost."""
    ahead = NOW + timedelta(hours=1)
    assert (
        query.bind({"model": "x", "until": ahead}, now=NOW).parameters["until"]
        == "2026-11-21 13:30:00.000000"
    )


def test_a_parameter_may_be_one_of_some_words(tmp_path: Path) -> None:
    """Any other one is refused, with those that there are."""
    text = TEXT.replace("model String | of this model", "model String large|small = small | of this size")
    (tmp_path / "sized.sql").write_text(text)
    query = Catalogue.load(tmp_path).get("sized")
    assert query.parameters[-1].choices == ("large", "small")
    assert query.bind({}).parameters["model"] == "small"
    assert query.bind({"model": "large"}).parameters["model"] == "large"
    with pytest.raises(WrongParameter, match="model must be one of large, small, not 'huge'") as caught:
        query.bind({"model": "huge"})
    assert caught.value.param == "model"
