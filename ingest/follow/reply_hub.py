"""Hands replies and deltas to the HTTP requests that wait for them. In memory, without I/O.

A reply goes to the listener with its correlation id, and to every other listener of its request. The text of
a running answer is stored once per request, however many clients read it.

    with hub.listen(request_id) as listener:
        await listener.until(lambda: listener.reply is not None)
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from ingest.follow.answer_cursor import AnswerSoFar, advance
from streams.events import CacheKind, Delta, Reply
from streams.serving.responses import unavailable
from streams.tasks import event_within

#: The most text that is held of a running answer; the reply brings the rest.
MAX_ANSWER_CHARS = 262_144


class RunningAnswer:
    """What is known of one running request, shared by all its listeners."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.complete = False  # whether this process hears, or has heard, every delta of it
        self.so_far = AnswerSoFar()
        self.cache_kind: CacheKind | None = None
        self.listeners: set[ReplyListener] = set()
        self.on_reply: Callable[[Reply], None] | None = None


class ReplyListener(ExitStack):
    """What one HTTP request hears of its answer: the text so far, and the reply once it is there.

    A slow client costs no memory: it reads on in the `RunningAnswer` where it stopped. As an `ExitStack` it
    holds the contexts that last for as long as it listens.
    """

    def __init__(self, hub: "ReplyHub", answer: RunningAnswer, correlation_id: bytes | None) -> None:
        super().__init__()
        self.correlation_id = correlation_id
        self.reply: Reply | None = None
        self.dismissed = False
        self.answer = answer
        self._changed = asyncio.Event()
        self.callback(hub.forget, self, answer)

    def resolve(self, reply: Reply) -> None:
        """Take the reply; the first one counts."""
        if self.reply is None:
            self.reply = reply
            self._changed.set()

    def dismiss(self) -> None:
        """Ask that the client be sent to another replica: this process is about to end."""
        self.dismissed = True
        self._changed.set()

    def notify(self) -> None:
        """Note that there is more text."""
        self._changed.set()

    async def changed_within(self, seconds: float) -> bool:
        """Wait for a change since the last call; False if there is none within so many seconds."""
        changed = await event_within(self._changed, seconds)
        self._changed.clear()
        return changed

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on this listener holds, however long it takes."""
        while not condition():
            await self._changed.wait()
            self._changed.clear()


class ReplyHub:
    """The listeners of this process, and the running answers that they share."""

    def __init__(self, *, max_listeners: int) -> None:
        self._max_listeners = max_listeners
        self._max_answers = 2 * max_listeners
        self._listeners: set[ReplyListener] = set()
        self._by_correlation: dict[bytes, ReplyListener] = {}
        self._answers: dict[str, RunningAnswer] = {}
        self._closing = False

    @property
    def in_flight(self) -> int:
        """How many HTTP requests wait."""
        return len(self._listeners)

    def listen(self, request_id: str, *, correlation_id: bytes | None = None) -> ReplyListener:
        """Return a listener for a request, to be closed; 503 where as many as are allowed wait already.

        With a `correlation_id` it takes the reply of that id alone, else any of the request.
        """
        if len(self._listeners) >= self._max_listeners:
            raise unavailable(
                f"{self._max_listeners} requests are waiting already; try again", code="overloaded"
            )
        answer = self.track(request_id)
        listener = ReplyListener(self, answer, correlation_id)
        self._listeners.add(listener)
        answer.listeners.add(listener)
        if correlation_id is not None:
            self._by_correlation[correlation_id] = listener
        elif self._closing:
            listener.dismiss()
        return listener

    def dismiss_followers(self) -> None:
        """End the streams of those who only follow: this process stops, and another can go on for them."""
        self._closing = True
        for listener in self._listeners:
            if listener.correlation_id is None:
                listener.dismiss()

    def track(self, request_id: str) -> RunningAnswer:
        """Keep the deltas of a request from now on, so that whoever asks later gets them from the start."""
        answer = self._answers.get(request_id)
        if answer is None:
            self._make_room()
            answer = self._answers[request_id] = RunningAnswer(request_id)
        return answer

    def mark_complete(self, request_id: str) -> None:
        """Note that this process hears every delta of a request that it tracks."""
        answer = self._answers.get(request_id)
        if answer is not None:
            answer.complete = True

    def forget(self, listener: ReplyListener, answer: RunningAnswer) -> None:
        """Drop a listener."""
        self._listeners.discard(listener)
        answer.listeners.discard(listener)
        if listener.correlation_id is not None:
            self._by_correlation.pop(listener.correlation_id, None)
        is_answered = listener.reply is not None and not answer.listeners
        if is_answered and self._answers.get(answer.request_id) is answer:
            del self._answers[answer.request_id]

    def expects(self, request_id: str, correlation_id: bytes | None) -> bool:
        """Whether anybody here wants a record of this request: most are not worth decoding."""
        return request_id in self._answers or correlation_id in self._by_correlation

    def on_delta(self, delta: Delta) -> None:
        """Hand a delta to the listeners of its request."""
        answer = self._answers.get(delta.request_id)
        if answer is None:
            return
        answer.cache_kind = delta.cache_kind or answer.cache_kind
        before = answer.so_far
        answer.so_far = advance(before, delta, max_chars=MAX_ANSWER_CHARS)
        if answer.so_far is not before:
            for listener in answer.listeners:
                listener.notify()

    def on_reply(self, reply: Reply, correlation_id: bytes | None) -> None:
        """Hand a reply to the listener that waits for it, and to all who follow its request."""
        waiting = self._by_correlation.get(correlation_id) if correlation_id else None
        if waiting is not None:
            waiting.resolve(reply)
        answer = self._answers.pop(reply.request_id, None)
        if answer is not None and answer.on_reply is not None:
            answer.on_reply(reply)
        for listener in answer.listeners if answer else ():
            if listener.correlation_id is None:
                listener.resolve(reply)

    def _make_room(self) -> None:
        if len(self._answers) < self._max_answers:
            return
        unheard = next((key for key, answer in self._answers.items() if not answer.listeners), None)
        if unheard is not None:
            del self._answers[unheard]
