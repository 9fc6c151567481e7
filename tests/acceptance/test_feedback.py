"""Feedback: over HTTP and over Kafka in, a score beside its request's row and an analyst's report out."""

import asyncio
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from streams.events import FeedbackGiven
from streams.publisher import Emit, Publisher
from streams.topics import FEEDBACK
from tests.acceptance.conftest import GLOBEX_KEY, System, unique, wait_for
from tests.acceptance.test_dead_letters import letters

pytestmark = pytest.mark.acceptance

_SCORE_TIMEOUT_S = 30.0
_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def asked(system: System, *, user: str) -> str:
    """Send a request and return its id."""
    response = system.chat(unique("what drives a mill?"), user_id=user)
    assert response.status_code == 200, response.text
    return str(response.json()["request_id"])


def give(system: System, key: str | None = None, **said: Any) -> httpx.Response:
    """Give feedback, by default with the key of the tenant whose requests the tests send."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return system.http.post("/v1/feedback", json=said, headers=headers)


def scores(system: System, request_id: str) -> list[dict[str, Any]]:
    """The scores of a request, the correct ones alone."""
    return system.sql(
        "SELECT * FROM scores WHERE request_id = {id:String} ORDER BY name, source", id=request_id
    )


def report(system: System, name: str, **parameters: str) -> list[dict[str, Any]]:
    """A report as an analyst has it, over HTTP; numbers are exact."""
    response = httpx.get(
        f"{system.endpoints.analytics}/v1/analytics/queries/{name}/rows",
        headers={"Authorization": f"Bearer {system.endpoints.api_key}"},
        params=parameters,
        timeout=60,
    )
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = _decoder.decode(response.content)["rows"]
    return rows


def publish(system: System, *said: FeedbackGiven) -> None:
    """Write feedback as another service does: to Kafka."""

    async def run() -> None:
        async with Publisher(system.endpoints.kafka, client_id="judge") as publisher:
            for each in said:
                await publisher.publish(Emit.to(FEEDBACK, each, key=each.request_id))

    asyncio.run(run())


def test_a_thumb_over_http_is_a_score_with_its_requests_facts(healthy: System) -> None:
    """Given right after the answer, before the request's row may be there: the score finds it."""
    request_id = asked(healthy, user="ann")
    given = give(healthy, request_id=request_id, label="up", comment="to the point")
    assert given.status_code == 202, given.text
    assert wait_for(lambda: scores(healthy, request_id), _SCORE_TIMEOUT_S)
    row = healthy.row(request_id)
    [score] = scores(healthy, request_id)
    assert score["score_id"] == given.json()["score_id"]
    assert Decimal(score["value"]) == 1
    assert (score["name"], score["label"]) == ("thumbs", "up")
    assert (score["source"], score["comment"]) == ("user", "to the point")
    for fact in (
        "tenant",
        "user_id",
        "accepted_at",
        "model",
        "prompt_template",
        "prompt_version",
        "experiment",
        "arm",
    ):
        assert score[fact] == row[fact], fact


def test_a_change_of_mind_corrects_the_score(healthy: System) -> None:
    """One score, not two, and the later word counts."""
    request_id = asked(healthy, user="ann")
    for label in ("up", "down"):
        assert give(healthy, request_id=request_id, label=label).status_code == 202
    assert wait_for(
        lambda: [Decimal(each["value"]) for each in scores(healthy, request_id)] == [0], _SCORE_TIMEOUT_S
    ), scores(healthy, request_id)


def test_judges_and_people_meet_in_the_reports(healthy: System) -> None:
    """People over HTTP, a judge over Kafka: their agreement, and the scores by version, add up."""
    name = uuid.uuid4().hex
    requests = [asked(healthy, user=f"u-{number}") for number in range(4)]
    people, judge = (1.0, 1.0, 0.0, 0.25), (0.9, 0.2, 0.1, 0.75)
    for request_id, value in zip(requests, people, strict=True):
        given = give(healthy, request_id=request_id, name=name, value=value, source="human", scorer="team")
        assert given.status_code == 202, given.text
    publish(
        healthy,
        *(
            FeedbackGiven(
                request_id=request_id, name=name, value=Decimal(str(value)), source="judge", scorer="judge-1"
            )
            for request_id, value in zip(requests, judge, strict=True)
        ),
    )

    def agreement() -> Mapping[str, Any]:
        rows = report(healthy, "judge_agreement", since="1h")
        return next((row for row in rows if row["score"] == name), {})

    assert wait_for(lambda: agreement().get("requests") == 4, _SCORE_TIMEOUT_S), agreement()
    assert agreement() == {
        "score": name,
        "judge": "judge-1",
        "requests": 4,
        "agreed": 2,
        "agreement_share": Decimal("0.5"),
        "judge_good": 2,
        "human_good": 2,
        "mean_difference": Decimal("-0.075"),
    }
    rows = report(healthy, "scores_by_version", since="1h", score=name)
    by_source = {
        source: (sum(row["scores"] for row in rows if row["source"] == source))
        for source in ("human", "judge")
    }
    assert by_source == {"human": 4, "judge": 4}
    in_rollup = "SELECT sum(scores) AS n, sum(value_sum) AS value FROM quality_1d WHERE name = {name:String}"
    assert wait_for(lambda: int(healthy.sql(in_rollup, name=name)[0]["n"]) == 8, 60)
    assert Decimal(healthy.sql(in_rollup, name=name)[0]["value"]) == Decimal("4.2")


def test_wrong_hits_of_the_cache_are_found(healthy: System) -> None:
    """An answer from the cache that its user did not like is one in the report."""
    question = unique("what is a millrace?")
    healthy.chat(question, user_id="first")
    hit = wait_for(
        lambda: next(
            (r.json() for r in [healthy.chat(question, user_id="second")] if r.json()["cache_hit"]), None
        ),
        _SCORE_TIMEOUT_S,
    )
    name = uuid.uuid4().hex
    assert give(healthy, request_id=hit["request_id"], name=name, label="down").status_code == 202

    def wrong() -> list[Mapping[str, Any]]:
        return [row for row in report(healthy, "cache_wrong_hits", since="1h", score=name) if row["scored"]]

    assert wait_for(wrong, _SCORE_TIMEOUT_S)
    assert [(row["scored"], row["wrong"]) for row in wrong()] == [(1, 1)]


def test_nobody_scores_another_tenants_request(healthy: System) -> None:
    """404 over HTTP; over Kafka it is no score, and a dead letter in the end (`HEADRACE_FEEDBACK_WAIT_S`)."""
    request_id = asked(healthy, user="ann")
    refused = give(healthy, GLOBEX_KEY, request_id=request_id, label="down")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "request_not_found")
    publish(healthy, FeedbackGiven(request_id=request_id, tenant="globex", label="down"))
    assert give(healthy, request_id=request_id, label="up").status_code == 202
    assert wait_for(lambda: scores(healthy, request_id), _SCORE_TIMEOUT_S)
    assert [(each["tenant"], each["label"]) for each in scores(healthy, request_id)] == [("default", "up")]


def test_what_is_no_feedback_is_a_dead_letter(healthy: System) -> None:
    """With its reason, where operators look for such things; it can be looked at and replayed there."""
    marker = uuid.uuid4().hex

    async def send() -> None:
        async with Publisher(healthy.endpoints.kafka, client_id="test") as publisher:
            await publisher.publish(Emit(topic=FEEDBACK.name, key=marker, value=b'{"label": "up"}'))

    asyncio.run(send())

    [letter] = wait_for(lambda: letters(healthy, marker), _SCORE_TIMEOUT_S)
    assert (letter["stage"], letter["topic"]) == ("feedback", FEEDBACK.name)
    assert "request_id" in letter["message"]
