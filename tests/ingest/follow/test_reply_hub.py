"""Who waits for what."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ingest.follow.reply_hub import ReplyHub
from streams.events import Delta
from streams.serving.responses import ApiError
from tests.ingest.fakes import answered


def _delta(request_id: str, seq: int, text: str) -> Delta:
    return Delta(request_id=request_id, attempt=1, seq=seq, text=text)


def test_a_reply_goes_to_the_correlation_id_it_names() -> None:
    """Two HTTP requests for the same pipeline request each get their own."""
    hub = ReplyHub(max_listeners=4)
    with hub.listen("r", correlation_id=b"1") as first, hub.listen("r", correlation_id=b"2") as second:
        hub.on_reply(answered("r"), b"1")
        assert first.reply == answered("r")
        assert second.reply is None
        hub.on_reply(answered("r", repeat=True), b"2")
        assert second.reply == answered("r", repeat=True)


def test_a_follower_takes_any_reply_of_its_request() -> None:
    """It has no correlation id of its own; the first reply counts."""
    hub = ReplyHub(max_listeners=4)
    with hub.listen("r") as follower:
        hub.on_reply(answered("other"), b"9")
        assert follower.reply is None
        hub.on_reply(answered("r"), b"1")
        follower.resolve(answered("r", "late"))
        assert follower.reply == answered("r")


def test_deltas_reach_everyone_who_listens_to_the_request() -> None:
    """Also who comes late."""
    hub = ReplyHub(max_listeners=4)
    with hub.listen("r", correlation_id=b"1") as early:
        hub.on_delta(_delta("r", 0, "a"))
        with hub.listen("r") as late:
            hub.on_delta(_delta("r", 1, "b"))
            hub.on_delta(_delta("x", 0, "y"))
            assert early.answer.so_far.text == late.answer.so_far.text == "ab"


def test_deltas_wait_for_a_request_that_was_only_submitted() -> None:
    """So that `GET …/events` begins at the beginning."""
    hub = ReplyHub(max_listeners=4)
    hub.track("r")
    hub.on_delta(_delta("r", 0, "a"))
    with hub.listen("r") as listener:
        assert listener.answer.so_far.text == "a"


def test_whoever_waits_for_the_end_of_a_request_hears_of_it_once() -> None:
    """Of one that was only submitted, and has no listener."""
    hub, ended = ReplyHub(max_listeners=4), []
    hub.track("r").on_reply = ended.append
    hub.on_reply(answered("other"), b"1")
    hub.on_reply(answered("r"), b"1")
    hub.on_reply(answered("r", repeat=True), b"2")
    assert ended == [answered("r")]


def test_records_of_strangers_are_not_expected() -> None:
    """They need not even be decoded."""
    hub = ReplyHub(max_listeners=4)
    with hub.listen("r", correlation_id=b"1"):
        assert hub.expects("r", None)
        assert hub.expects("?", b"1")
        assert not hub.expects("?", b"2")
        assert not hub.expects("?", None)


def test_only_so_many_may_wait() -> None:
    """The next one is refused; one that leaves makes room."""
    hub = ReplyHub(max_listeners=2)
    first = hub.listen("a", correlation_id=b"1")
    hub.listen("b")
    with pytest.raises(ApiError) as caught:
        hub.listen("c")
    assert caught.value.status == 503
    first.close()
    first.close()
    assert hub.in_flight == 1
    hub.listen("c")


def test_submitted_requests_that_never_end_do_not_pile_up() -> None:
    """The oldest without a listener is dropped; one with a listener stays."""
    hub = ReplyHub(max_listeners=2)
    with hub.listen("kept"):
        for index in range(20):
            hub.track(f"r-{index}")
        assert hub.expects("kept", None)
        assert [index for index in range(20) if hub.expects(f"r-{index}", None)] == [17, 18, 19]


def test_a_finished_request_leaves_nothing_behind() -> None:
    """Neither after a reply from Kafka nor after one from the registry."""
    hub = ReplyHub(max_listeners=2)
    with hub.listen("r", correlation_id=b"1"):
        hub.on_reply(answered("r"), b"1")
    assert not hub.expects("r", b"1")
    with hub.listen("s", correlation_id=b"2") as listener:
        listener.resolve(answered("s"))
    assert not hub.expects("s", b"2")


def test_a_client_that_leaves_early_leaves_the_transcript() -> None:
    """It may come back for the events."""
    hub = ReplyHub(max_listeners=2)
    hub.listen("r", correlation_id=b"1").close()
    hub.on_delta(_delta("r", 0, "a"))
    with hub.listen("r") as back:
        assert back.answer.so_far.text == "a"


async def test_news_wait_for_news() -> None:
    """True once for what came, False where nothing came in time."""
    hub = ReplyHub(max_listeners=2)
    with hub.listen("r") as listener:
        assert not await listener.changed_within(0)
        hub.on_delta(_delta("r", 0, "a"))
        hub.on_delta(_delta("r", 0, "a"))
        assert await listener.changed_within(0)
        assert not await listener.changed_within(0)


def test_what_a_listener_keeps_ends_with_it() -> None:
    """Once, however often it is closed."""
    hub, log = ReplyHub(max_listeners=1), list[str]()

    @contextmanager
    def kept() -> Iterator[None]:
        log.append("begun")
        yield
        log.append("ended")

    listener = hub.listen("r")
    listener.enter_context(kept())
    assert log == ["begun"]
    listener.close()
    listener.close()
    assert log == ["begun", "ended"]


def test_only_followers_are_dismissed() -> None:
    """Those who are there, and those who come after."""
    hub = ReplyHub(max_listeners=4)
    with hub.listen("r", correlation_id=b"1") as asking, hub.listen("r") as early:
        hub.dismiss_followers()
        with hub.listen("r", correlation_id=b"2") as later, hub.listen("s") as late:
            assert [each.dismissed for each in (asking, early, later, late)] == [False, True, False, True]


def test_what_is_heard_from_the_start_is_known() -> None:
    """By all who listen; a request that is not kept is not marked."""
    hub = ReplyHub(max_listeners=4)
    hub.mark_complete("r")
    with hub.listen("r") as listener:
        assert not listener.answer.complete
        hub.mark_complete("r")
        assert listener.answer.complete
