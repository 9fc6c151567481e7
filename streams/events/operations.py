"""What people and operators write: feedback, dead-letter actions, erasures; and alerts of the watcher."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta

from streams.events.requests import Event, Name, RequestId

ScoreName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$(?!\n)")]
ScoreId = RequestId
ScoreLabel = Annotated[str, Meta(max_length=64)]
ScoreSource = Literal["user", "human", "judge", "check"]
Scorer = Annotated[str, Meta(max_length=128)]
ScoreComment = Annotated[str, Meta(max_length=4_000)]


class FeedbackGiven(Event, frozen=True, kw_only=True):
    """A score of a request's answer, by its user, a reviewer, a judge model or a check.

    `value` is -1,000,000 to 1,000,000; a label of `streams.request_rules.feedback.LABELS` stands for one.
    `score_id` tells the scores of one request apart; without it there is one score per `name`, `source` and
    `scorer`. A score with a later `scored_at` (default: the record's timestamp) replaces the former.
    `accepted_at` of the request, if given, makes the request quicker to find.
    """

    request_id: RequestId
    tenant: Name | None = None
    name: ScoreName = "thumbs"
    value: Decimal | None = None
    label: ScoreLabel = ""
    comment: ScoreComment = ""
    source: ScoreSource = "user"
    scorer: Scorer = ""
    score_id: ScoreId | None = None
    scored_at: Annotated[datetime, Meta(tz=True)] | None = None
    accepted_at: Annotated[datetime, Meta(tz=True)] | None = None


ErasureMode = Literal["anonymise", "delete"]


class DeadLetterAction(Event, frozen=True, kw_only=True):
    """What an operator did with a dead letter: the audit trail of `headrace dlq`.

    `dead_letter` is ``partition:offset`` in the dead-letter topic.
    """

    dead_letter: str
    action: Literal["replayed", "discarded"]
    by: str
    at: datetime
    reason: str = ""
    request_id: str | None = None
    topic: str | None = None


class AlertRaised(Event, frozen=True, kw_only=True):
    """The begin (`raised`) or the end (`resolved`) of an alert; both records have the same `alert_id`.

    `tenant` is empty where all tenants together are meant. `observed` and `expected` are in `unit`: `usd`,
    `ms`, `ratio` (0 to 1), `s` or `records`. `p_value` belongs to rules that are statistical tests;
    `history_windows` is the number of earlier windows of the comparison.
    """

    alert_id: str
    rule: str
    state: Literal["raised", "resolved"]
    severity: Literal["warning", "critical"]
    direction: Literal["above", "below"]
    observed: float
    expected: float
    unit: str
    method: str
    message: str
    window_since: Annotated[datetime, Meta(tz=True)]
    window_until: Annotated[datetime, Meta(tz=True)]
    began_at: Annotated[datetime, Meta(tz=True)]
    at: Annotated[datetime, Meta(tz=True)]
    tenant: str = ""
    p_value: float | None = None
    history_windows: int = 0


class Erasure(Event, frozen=True, kw_only=True):
    """An order to erase what was accepted of a user before `until`. It contains no name.

    `digest` is the record's key: `streams.erasure.digest_of` the user, under `salt`. `pseudonym`
    replaces the user where `mode` is *anonymise*; with *delete* no rows are left.
    """

    digest: str
    salt: str
    tenant: str
    mode: ErasureMode
    pseudonym: str
    until: Annotated[datetime, Meta(tz=True)]
