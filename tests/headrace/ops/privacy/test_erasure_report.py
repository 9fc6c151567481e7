"""The report for people."""

from datetime import UTC, datetime

from headrace.ops.privacy.eraser import ErasureReport, ErasureVerdict, StoredItems, lines, retained_topics

UNTIL = datetime(2026, 11, 21, 12, tzinfo=UTC)


def report(verdict: ErasureVerdict, *, under_way: int = 0) -> str:
    return "\n".join(
        lines(
            ErasureReport(
                tenant="acme",
                mode="anonymise",
                pseudonym="erased-1f",
                until=UNTIL,
                requests=3,
                places=(StoredItems(part="ClickHouse", name="requests_raw", found=6, left=2),),
                under_way=under_way,
                kept=retained_topics(UNTIL),
                verdict=verdict,
            )
        )
    )


def test_what_was_found_and_what_is_left() -> None:
    """And how long Kafka keeps the rest, the first to go first."""
    text = report(ErasureVerdict.LEFT, under_way=1)
    assert "3 requests of a user of acme, accepted until 2026-11-21 12:00 UTC" in text
    assert "erased-1f" in text
    assert "requests_raw" in text
    assert "6 found" in text
    assert "2 left" in text
    assert "1 requests have not ended" in text
    assert text.index("2026-11-22 12:00 UTC  llm.deltas.v1") < text.index("2026-12-21 12:00 UTC")
    assert text.endswith("Something is still there: run it again.")


def test_a_plan_promises_nothing() -> None:
    """No pseudonym is given, and nothing is left because nothing was done."""
    text = report(ErasureVerdict.PLANNED)
    assert "erased-1f" not in text
    assert " left" not in text
    assert "Nothing was changed" in text
