"""What several queries begin with is written once, and is in each of them as if it stood in its file."""

from pathlib import Path

import pytest

from analytics.clickhouse import expanded
from analytics.reports.catalogue import Catalogue, load_parts, parse
from streams.errors import ConfigurationError

PART = """\
-- description: Only what was dear.
-- parameter: above_usd Float64 = 1 | dearer than this
{above_usd:Float64} * 1 AS dear,
chosen AS
(
    SELECT * FROM requests AS r
    WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')}
        AND r.accepted_at < {until:DateTime64(6, 'UTC')}
        AND ({tenant:String} = '' OR r.tenant = {tenant:String})
        AND r.cost_usd > dear
)
"""
QUERY = """\
-- title: Dear ones
-- group: cost
-- description: What cost much.
-- part: dear
-- parameter: limit UInt32 1..50 = 20 | rows at most
-- column: request_id [id] | the request
SELECT request_id FROM chosen LIMIT {limit:UInt32}
"""


def folder(tmp_path: Path, **parts: str) -> Path:
    """A folder of parts."""
    for name, text in parts.items():
        (tmp_path / f"{name}.sql").write_text(text, "utf-8")
    return tmp_path


def test_a_query_takes_over_what_its_part_says_and_takes(tmp_path: Path) -> None:
    """The statement and its documentation are whole; the part's parameters come before the query's own."""
    header = parse("x.sql", QUERY, load_parts(folder(tmp_path, dear=PART)))
    assert header.description == "What cost much. Only what was dear."
    names = [parameter.name for parameter in header.parameters]
    assert names == ["since", "until", "tenant", "above_usd", "limit"]
    assert header.sql.startswith("WITH\n{above_usd:Float64} * 1 AS dear,\nchosen AS\n(")
    assert header.sql.endswith(")\nSELECT request_id FROM chosen LIMIT {limit:UInt32}")


def test_parts_and_the_querys_own_clauses_follow_each_other(tmp_path: Path) -> None:
    """In the order in which they are named, so that later ones may build on earlier ones."""
    text = QUERY.replace("-- part: dear\n", "-- part: dear\n-- part: one\n")
    text = text.replace("SELECT request_id", "WITH\n2 AS two\nSELECT request_id")
    parts = load_parts(folder(tmp_path, dear=PART, one="-- description: One.\n1 AS one\n"))
    sql = parse("x.sql", text, parts).sql
    assert "\n),\n1 AS one,\n2 AS two\nSELECT request_id FROM chosen" in sql
    assert sql.count("WITH\n") == 1


def test_a_query_may_give_its_parts_parameter_another_default(tmp_path: Path) -> None:
    """It is stated again, with the same type."""
    text = QUERY.replace("-- part: dear\n", "-- part: dear\n-- parameter: above_usd Float64 = 7 | likewise\n")
    header = parse("x.sql", text, load_parts(folder(tmp_path, dear=PART)))
    assert [each.default for each in header.parameters if each.name == "above_usd"] == ["7"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (QUERY.replace("part: dear", "part: cheap"), "there is no part 'cheap'"),
        (QUERY.replace("limit UInt32 1..50", "above_usd Float64"), "parameter limit UInt32 is used"),
    ],
)
def test_a_query_that_does_not_fit_its_part_is_named(tmp_path: Path, text: str, says: str) -> None:
    """With the file and what is wrong."""
    with pytest.raises(ConfigurationError, match=rf"analytics/reports/queries/x\.sql: .*{says}"):
        parse("x.sql", text, load_parts(folder(tmp_path, dear=PART)))


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("-- description: Only what was dear.\n", "", "there must be one description"),
        ("-- parameter", "-- title", "neither a field nor the rest of one"),
        ("Float64 = 1", "Float7 = 1", "parameter 'above_usd Float7"),
    ],
)
def test_a_faulty_part_is_named(tmp_path: Path, was: str, becomes: str, says: str) -> None:
    """It has a strict format too."""
    with pytest.raises(ConfigurationError, match=rf"analytics/reports/query_parts/dear\.sql: .*{says}"):
        load_parts(folder(tmp_path, dear=PART.replace(was, becomes, 1)))


def test_every_part_is_used() -> None:
    """By at least one query of the catalogue."""
    statements = [query.sql for query in Catalogue.load()]
    for name, part in load_parts().items():
        assert any(expanded(part.sql).partition("\n")[0] in sql for sql in statements), name
