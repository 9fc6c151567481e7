"""Redis that does not answer once refuses no request; one that is away refuses it in time."""

import httpx
import pytest

from ingest.submit.submission import with_second_try
from streams.errors import StoreDenied, StoreFull, StoreUnavailable
from tests.ingest.fakes import Rig, answered


class Step:
    """Raises the faults that it was given, one a try; then it returns."""

    def __init__(self, *faults: Exception) -> None:
        self.tries = 0
        self._faults = list(faults)

    async def __call__(self) -> str:
        self.tries += 1
        if self._faults:
            raise self._faults.pop(0)
        return "done"


async def test_one_missing_answer_is_asked_for_again() -> None:
    """The second try is the answer."""
    step = Step(StoreUnavailable("no answer in time"))
    assert (await with_second_try(step), step.tries) == ("done", 2)


async def test_two_missing_answers_are_an_outage() -> None:
    """The client hears of it, and is not kept waiting."""
    step = Step(*[StoreUnavailable("no answer in time")] * 2)
    with pytest.raises(StoreUnavailable):
        await with_second_try(step)
    assert step.tries == 2


@pytest.mark.parametrize("fault", [StoreFull("its memory is full"), StoreDenied("another password")])
async def test_what_another_try_would_not_mend_is_raised_at_once(fault: StoreUnavailable) -> None:
    """A Redis that is full, or that refuses the user, has answered."""
    step = Step(fault)
    with pytest.raises(type(fault)):
        await with_second_try(step)
    assert step.tries == 1


async def test_a_registration_whose_answer_was_lost_is_published_once(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """The second try finds the very same submission: its record is not on the topic yet."""
    wired.registry.lost_answers = 1
    wired.pipeline.replies_with(answered())
    response = await client.post("/v1/chat", json={"query": "why?", "user_id": "ada"})
    assert response.status_code == 200
    assert len(wired.pipeline.sent) == 1
