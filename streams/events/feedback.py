"""What people and judges think of an answer."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta

from streams.events.event import Event, Name, RequestId

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
