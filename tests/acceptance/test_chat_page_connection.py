"""The chat page in a real browser: connections that break, tokens that run out, servers that are away."""

import json
from typing import Any

import pytest

from ingest.follow.answer_cursor import StreamPosition
from tests.acceptance.chat import (
    SLOWLY,
    STORY,
    WRITING,
    Chat,
    chat_page,  # noqa: F401  # a fixture
    chromium,  # noqa: F401  # a fixture
    empty_page,  # noqa: F401  # a fixture
)
from tests.acceptance.conftest import unique

pytestmark = pytest.mark.acceptance


def test_a_dropped_connection_goes_on_at_the_next_character(chat: Chat) -> None:
    """Dropped in the middle and opened anew two seconds later: nothing is missing, nothing is there twice."""
    chat.system.behave(**SLOWLY)
    chat.ask(unique("Tell me about rivers"))
    chat.page.locator(WRITING).wait_for()
    chat.page.get_by_role("button", name="Drop the connection").click()
    had = chat.answer
    assert "dropped" in chat.part(".link")
    chat.page.locator('.link[data-state="resumed"]').wait_for()
    assert f"after character {len(had)}:" in chat.part(".link")
    chat.until("answered")
    assert chat.answer == chat.reply["content"]
    assert chat.answer.startswith(had)
    first, second = chat.streams
    assert "last_event_id" not in first.url
    assert f"last_event_id={len(had)}-" in second.url


def test_the_browser_connects_again_by_itself_after_kill_9_of_ingest(chat: Chat) -> None:
    """`EventSource` sends the id of its last event, and the new process goes on from there."""
    chat.system.behave(**SLOWLY | {"latency": {"first_token_ms": 100, "tokens_per_second": 12}})
    chat.ask(unique("Tell me about mills"))
    chat.page.locator(WRITING).wait_for()
    chat.system.kill("ingest")
    chat.page.locator('.link[data-state="lost"]').wait_for()
    had = chat.answer
    chat.page.locator('.link[data-state="resumed"]').wait_for()
    assert f"after character {len(had)}:" in chat.part(".link")
    chat.until("answered")
    assert chat.answer == chat.reply["content"]
    assert [each for each in chat.streams if "last-event-id" in each.all_headers()]


@pytest.mark.parametrize(
    ("events", "goes_on_from"),
    [
        (
            [
                ("delta", "The riv", StreamPosition("The riv")),
                ("delta", "mill", StreamPosition("The river drives the mill")),
            ],
            None,
        ),
        (
            [("delta", "Nonsense", StreamPosition("Nonsense")), ("reset", "", StreamPosition())],
            StreamPosition().event_id,
        ),
    ],
    ids=["gap", "reset"],
)
def test_text_that_does_not_count_is_taken_back(
    chat: Chat, events: list[tuple[str, str, StreamPosition]], goes_on_from: str | None
) -> None:
    """A first stream with a gap, or with a beginning that is withdrawn: the answer is whole in the end."""
    body = "retry: 100\n\n" + "".join(
        f"event: {name}\ndata: {json.dumps({'token': text})}\nid: {marker.event_id}\n\n"
        for name, text, marker in events
    )
    chat.system.behave(answers=SLOWLY["answers"])
    chat.page.route(
        "**/events?*", lambda route: route.fulfill(body=body, content_type="text/event-stream"), times=1
    )
    chat.ask(unique("Tell me about flumes"))
    chat.until("answered")
    assert (chat.answer, chat.reply["content"]) == (STORY, STORY)
    _, second = chat.streams
    assert second.all_headers().get("last-event-id") == goes_on_from
    assert "last_event_id" not in second.url


def test_a_reload_in_the_middle_finds_the_whole_answer(chat: Chat) -> None:
    """Neither the tab nor the connection is what the answer hangs on; it is asked once."""
    chat.system.behave(**SLOWLY)
    question = unique("Tell me about locks")
    chat.ask(question)
    chat.page.locator(WRITING).wait_for()
    chat.page.reload()
    chat.until("answered")
    assert (chat.part(".question"), chat.answer) == (question, chat.reply["content"])
    posted = [each.url for each in chat.requests if each.method == "POST"]
    assert [url.rpartition("/")[2] for url in posted] == ["requests", "stream-token"]


def test_a_token_that_has_run_out_is_renewed(chat: Chat) -> None:
    """Opened anew with a refused token, the page gets another one and goes on where it was."""
    chat.system.behave(**SLOWLY)

    def spoil(route: Any) -> None:
        once = len(chat.streams) == 2
        route.continue_(url=route.request.url.replace("token=", "token=x") if once else None)

    chat.page.route("**/events?*", spoil)
    chat.ask(unique("Tell me about dams"))
    chat.page.locator(WRITING).wait_for()
    chat.page.get_by_role("button", name="Drop the connection").click()
    chat.page.locator('.link[data-state="resumed"]').wait_for()
    chat.until("answered")
    assert chat.answer == chat.reply["content"]
    assert [each.url.rpartition("/")[2] for each in chat.requests if each.method == "POST"] == [
        "requests",
        "stream-token",
    ]


def test_without_the_server_it_says_what_to_do(chat: Chat) -> None:
    """The question is kept, and sent once when it is tried again."""
    key = "**/v1/requests"
    chat.page.route(key, lambda route: route.abort("connectionrefused"))
    chat.ask(unique("What is a penstock?"))
    chat.until("unsent")
    assert "The server cannot be reached" in chat.part(".notice")
    chat.page.unroute(key)
    chat.page.get_by_role("button", name="Try again").click()
    chat.until("answered")
    first, second = (
        each.headers["idempotency-key"] for each in chat.requests if each.url.endswith("/v1/requests")
    )
    assert first == second
