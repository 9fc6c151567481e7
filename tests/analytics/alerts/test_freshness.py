"""The limits on what is not stored yet."""

import pytest

from analytics.alerts.alert_states import MeasureState
from analytics.alerts.fixed_limits import judge_freshness


@pytest.mark.parametrize(
    ("lag", "stale_s", "findings", "severe"),
    [
        (0, 0.0, (MeasureState.CALM, MeasureState.CALM), (False, False)),
        (999, 0.0, (MeasureState.CALM, MeasureState.UNCLEAR), (False, False)),
        (1_000, 300.0, (MeasureState.ANOMALOUS, MeasureState.ANOMALOUS), (False, False)),
        (4_000, 1_200.0, (MeasureState.ANOMALOUS, MeasureState.ANOMALOUS), (True, True)),
    ],
)
def test_beyond_the_limit_it_is_an_alert_and_far_below_it_is_over(
    lag: int, stale_s: float, findings: tuple[MeasureState, ...], severe: tuple[bool, ...]
) -> None:
    """Between half the limit and the limit an alert that stands goes on, and none begins."""
    found = judge_freshness((stale_s, 300.0), (lag, 1_000))
    assert [each.series.key for each in found] == ["sink_stale:above:*", "sink_lag:above:*"]
    assert tuple(each.finding for each in found) == findings
    assert tuple(each.severe for each in found) == severe
