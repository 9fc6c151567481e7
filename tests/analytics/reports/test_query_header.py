"""The leading comment of a query file is strict: a query without documentation does not load."""

import pytest

from analytics.reports.catalogue import parse
from streams.errors import ConfigurationError
from tests.analytics.reports.test_catalogue import TEXT


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("-- title: Slow ones\n", "", "there must be one title"),
        ("-- title: Slow ones\n", "-- title: Slow ones\n-- title: again\n", "there must be one title"),
        ("-- title: Slow ones\n", "-- tilte: Slow ones\n", "neither a field nor the rest of one"),
        ("--     than a limit.", "-- than a limit.", "neither a field nor the rest of one"),
        ("group: latency", "group: slowness", "group 'slowness' is none of cost, latency"),
        ("[id] | the request", "| the request", "must be: name"),
        ("[id]", "[furlongs]", "units: USD, calls"),
        ("-- column: request_id [id] | the request\n", "", "there is no column"),
        (
            "-- column: request_id [id] | the request\n",
            "-- column: request_id [id] | the request\n-- column: request_id [id] | again\n",
            "column 'request_id' is there twice",
        ),
        ("UInt32 1..50 = 20", "UInt8 1..50 = 20", "parameter 'limit UInt8"),
        ("limit UInt32 1..50 = 20 | rows at most", "limit UInt32 = 20", "must be: name Type"),
        ("-- parameter: model String | of this model\n", "", "model String is used and not stated"),
        ("LIMIT {limit:UInt32}", "LIMIT 3", "limit UInt32 is stated and not used"),
        ("{limit:UInt32}", "{limit:UInt64}", "parameter limit UInt"),
        ("{tenant:String} = ''", "1", ""),
        ("LIMIT {limit:UInt32}", "LIMIT {limit:UInt32};", "without a semicolon"),
    ],
)
def test_a_faulty_header_is_named(was: str, becomes: str, says: str) -> None:
    """With the file and what must be there."""
    assert was in TEXT
    if not says:  # the tenant is still used once
        assert parse("x.sql", TEXT.replace(was, becomes)).title == "Slow ones"
        return
    with pytest.raises(ConfigurationError, match=r"analytics/reports/queries/x\.sql: ") as caught:
        parse("x.sql", TEXT.replace(was, becomes))
    assert says in str(caught.value)


def test_a_query_that_forgets_the_tenant_does_not_load() -> None:
    """It would show everybody's rows to everybody."""
    text = TEXT.replace("    AND ({tenant:String} = '' OR tenant = {tenant:String})\n", "")
    with pytest.raises(ConfigurationError, match="tenant String is stated and not used"):
        parse("x.sql", text)


def test_a_header_may_give_another_default() -> None:
    """Of what every query takes; it stays in its place."""
    text = TEXT.replace(
        "-- parameter: limit", "-- parameter: since DateTime64(6, 'UTC') = 24h | a day\n-- parameter: limit"
    )
    since, *_ = parse("x.sql", text).parameters
    assert (since.name, since.default, since.doc) == ("since", "24h", "a day")
