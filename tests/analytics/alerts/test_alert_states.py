"""The book of alerts: each change of state once, also over restarts at any place."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from analytics.alerts.alert_states import AlertSeries, AlertStates, MeasureState, SeriesVerdict
from analytics.alerts.windows import AlertWindow
from streams.codec import decode, encode
from streams.events import AlertRaised

LENGTH = timedelta(minutes=15)
BEGIN = datetime(2026, 11, 20, 8, tzinfo=UTC)
ERRORS = AlertSeries("error_rate", "above", "acme")
BAD, CALM, UNCLEAR = MeasureState.ANOMALOUS, MeasureState.CALM, MeasureState.UNCLEAR


def window(number: int) -> AlertWindow:
    return AlertWindow(BEGIN + number * LENGTH, BEGIN + (number + 1) * LENGTH)


def verdict(finding: MeasureState, *, series: AlertSeries = ERRORS, severe: bool = False) -> SeriesVerdict:
    return SeriesVerdict(
        series=series,
        finding=finding,
        observed=0.2,
        expected=0.01,
        unit="ratio",
        method="a test",
        p_value=1e-9,
        history_windows=20,
        severe=severe,
    )


def judge(book: AlertStates, number: int, *found: SeriesVerdict) -> list[AlertRaised]:
    """Judge one window, and record what is due."""
    at = window(number)
    events = book.judge(found, at, rules=("error_rate", "spend"), at=at.until)
    for event in events:
        book.record(event)
    return events


def test_two_in_a_row_raise_it_once_and_two_calm_ones_resolve_it_once() -> None:
    """Everything between says nothing."""
    book = AlertStates()
    findings = (BAD, CALM, BAD, BAD, BAD, UNCLEAR, CALM, BAD, CALM, CALM, CALM)
    told = [[event.state for event in judge(book, at, verdict(each))] for at, each in enumerate(findings)]
    assert [(at, states) for at, states in enumerate(told) if states] == [(3, ["raised"]), (9, ["resolved"])]
    assert book.standing == []


def test_both_records_of_an_alert_have_its_id() -> None:
    """The id names the first window; what was seen is that of the window that decided."""
    book = AlertStates()
    raised = [*judge(book, 0, verdict(BAD)), *judge(book, 1, verdict(BAD, severe=True))][0]
    assert raised.alert_id == "error_rate:above:acme:2026-11-20T08:00:00Z"
    assert (raised.began_at, raised.window_until) == (BEGIN, window(1).until)
    assert raised.severity == "critical"
    assert raised.message == "The error rate of tenant acme is 20.0%, above the expected 1.0%"
    resolved = [*judge(book, 2, verdict(CALM)), *judge(book, 3, verdict(CALM))][0]
    assert (resolved.alert_id, resolved.began_at, resolved.severity) == (raised.alert_id, BEGIN, "critical")
    assert resolved.window_until == window(3).until
    assert resolved.message.startswith("Over: The error rate of tenant acme is again 20.0%")


def test_a_series_that_is_no_longer_judged_is_calm() -> None:
    """Without any requests there is nothing left to stand for; other rules' alerts are left alone."""
    book = AlertStates()
    for number in range(2):
        judge(book, number, verdict(BAD))
    foreign = AlertStates()
    foreign.record(msgspec.structs.replace(book.standing[0], rule="sink_lag", tenant=""))
    assert [judge(foreign, number) for number in range(2, 5)] == [[], [], []]
    assert judge(book, 2) == []
    assert [event.state for event in judge(book, 3)] == ["resolved"]


def test_a_window_without_a_verdict_breaks_the_row() -> None:
    """Two anomalous windows with a silent one between them are not two in a row."""
    book = AlertStates()
    assert [judge(book, 0, verdict(BAD)), judge(book, 1), judge(book, 2, verdict(BAD))] == [[], [], []]


def test_series_stand_for_themselves() -> None:
    """Tenants, rules and directions have alerts of their own."""
    book = AlertStates()
    spend = AlertSeries("spend", "below", "")
    for number in range(2):
        events = judge(book, number, verdict(BAD), verdict(BAD, series=spend))
    assert {event.alert_id for event in events} == {
        "error_rate:above:acme:2026-11-20T08:00:00Z",
        "spend:below:*:2026-11-20T08:00:00Z",
    }
    assert len(book.standing) == 2


@given(
    findings=st.lists(st.sampled_from((*MeasureState, None)), max_size=40),
    restarts=st.sets(st.integers(0, 40)),
)
def test_restarts_change_nothing(findings: Sequence[MeasureState | None], restarts: set[int]) -> None:
    """A book rebuilt from the topic, one window back, goes on as if it had never been away."""

    def one(book: AlertStates, number: int) -> list[AlertRaised]:
        finding = findings[number]
        return judge(book, number, *([verdict(finding)] if finding is not None else []))

    undisturbed = AlertStates()
    expected = [event for number in range(len(findings)) for event in one(undisturbed, number)]

    topic: list[bytes] = []
    book = AlertStates()
    for number in range(len(findings)):
        if number in restarts:
            book = AlertStates()
            for value in topic:
                book.record(decode(value, AlertRaised))
            if number:
                topic += [encode(event) for event in one(book, number - 1)]
        topic += [encode(event) for event in one(book, number)]
    assert topic == [encode(event) for event in expected]
