"""Who waits for what: replies by correlation id, deltas by request id. In memory, without I/O."""

import asyncio
from collections import OrderedDict
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

from ingest.errors import unavailable
from ingest.follow.transcript import Progress, advance
from streams.events import CacheKind, Delta, Reply

#: Deltas are held once a request, not once a client, and no further than this; the reply brings the rest.
MAX_TRANSCRIPT_CHARS = 262_144


class Transcript:
    """What is known of one running request, shared by everyone who listens to it.

    `whole`: nothing of it has passed, or will pass, this process by.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.whole = False
        self.progress = Progress()
        self.cache_kind: CacheKind | None = None
        self.listeners: set[Listener] = set()


class Listener:
    """One HTTP request's ear: the text so far, and the reply once it is there.

    A slow client costs no memory: it reads on in the request's transcript where it stopped.
    """

    def __init__(self, hub: "ReplyHub", transcript: Transcript, correlation_id: bytes | None) -> None:
        self.correlation_id = correlation_id
        self.reply: Reply | None = None
        self.dismissed = False
        self._hub = hub
        self._transcript = transcript
        self._news = asyncio.Event()
        self._kept = ExitStack()

    @property
    def text(self) -> str:
        """The answer so far: the text of the highest attempt."""
        return self._transcript.progress.text

    @property
    def cache_kind(self) -> CacheKind | None:
        """How the cache was consulted, as far as the deltas say."""
        return self._transcript.cache_kind

    @property
    def whole(self) -> bool:
        """Whether this process hears of every delta of the request."""
        return self._transcript.whole

    def settle(self, reply: Reply) -> None:
        """Take the reply; the first one counts."""
        if self.reply is None:
            self.reply = reply
            self._news.set()

    def dismiss(self) -> None:
        """Ask that the client be sent elsewhere: this process is about to end."""
        self.dismissed = True
        self._news.set()

    def notify(self) -> None:
        """Note that the transcript has grown."""
        self._news.set()

    async def news(self, timeout_s: float) -> bool:
        """Wait for something new since the last call; False where nothing came in `timeout_s` seconds."""
        if not self._news.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return False
        self._news.clear()
        return True

    async def until_reply(self) -> Reply:
        """Wait for the reply, however long it takes."""
        while self.reply is None:
            await self._news.wait()
            self._news.clear()
        return self.reply

    def keep(self, context: AbstractContextManager[None]) -> None:
        """Enter a context that lasts for as long as this listens."""
        self._kept.enter_context(context)

    def close(self) -> None:
        """Stop listening. The request goes on without."""
        self._kept.close()
        self._hub.forget(self, self._transcript)

    def __enter__(self) -> Self:
        """Listen."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self.close()


class ReplyHub:
    """Hands what the reply topics bring to those who wait for it.

    Args:
        max_listeners: how many HTTP requests may wait at once.
    """

    def __init__(self, *, max_listeners: int) -> None:
        self._max_listeners = max_listeners
        self._max_transcripts = 2 * max_listeners
        self._listeners: set[Listener] = set()
        self._waiting: dict[bytes, Listener] = {}
        self._transcripts: OrderedDict[str, Transcript] = OrderedDict()
        self._closing = False

    @property
    def in_flight(self) -> int:
        """How many HTTP requests wait."""
        return len(self._listeners)

    def listen(self, request_id: str, *, correlation_id: bytes | None = None) -> Listener:
        """Return an ear for a request; close it when done.

        Args:
            request_id: whose deltas are wanted.
            correlation_id: of the reply that is wanted; None takes any reply of that request.

        Raises:
            ApiError: 503, as many requests as are allowed wait already.
        """
        if len(self._listeners) >= self._max_listeners:
            raise unavailable(
                f"{self._max_listeners} requests are waiting already; try again", code="overloaded"
            )
        transcript = self.track(request_id)
        listener = Listener(self, transcript, correlation_id)
        self._listeners.add(listener)
        transcript.listeners.add(listener)
        if correlation_id is not None:
            self._waiting[correlation_id] = listener
        elif self._closing:
            listener.dismiss()
        return listener

    def dismiss_followers(self) -> None:
        """End the streams of those who only follow: this process ends, and another can go on for them.

        Those who wait for their own request's reply keep waiting.
        """
        self._closing = True
        for listener in self._listeners:
            if listener.correlation_id is None:
                listener.dismiss()

    def track(self, request_id: str) -> Transcript:
        """Keep the deltas of a request from now on, so that who asks later gets them from the start."""
        transcript = self._transcripts.get(request_id)
        if transcript is None:
            self._make_room()
            transcript = self._transcripts[request_id] = Transcript(request_id)
        return transcript

    def mark_whole(self, request_id: str) -> None:
        """Note that from here on this process hears of every delta of a request that it keeps."""
        transcript = self._transcripts.get(request_id)
        if transcript is not None:
            transcript.whole = True

    def forget(self, listener: Listener, transcript: Transcript) -> None:
        """Drop a listener."""
        self._listeners.discard(listener)
        transcript.listeners.discard(listener)
        if listener.correlation_id is not None:
            self._waiting.pop(listener.correlation_id, None)
        answered = listener.reply is not None and not transcript.listeners
        if answered and self._transcripts.get(transcript.request_id) is transcript:
            del self._transcripts[transcript.request_id]

    def expects(self, request_id: str, correlation_id: bytes | None) -> bool:
        """Whether anybody here wants a record of this request: most are not worth decoding."""
        return request_id in self._transcripts or correlation_id in self._waiting

    def on_delta(self, delta: Delta) -> None:
        """Hand a delta to those who listen to its request."""
        transcript = self._transcripts.get(delta.request_id)
        if transcript is None:
            return
        transcript.cache_kind = delta.cache_kind or transcript.cache_kind
        before = transcript.progress
        transcript.progress = advance(before, delta, max_chars=MAX_TRANSCRIPT_CHARS)
        if transcript.progress is not before:
            for listener in transcript.listeners:
                listener.notify()

    def on_reply(self, reply: Reply, correlation_id: bytes | None) -> None:
        """Hand a reply to the one who waits for it, and to all who only follow its request."""
        waiting = self._waiting.get(correlation_id) if correlation_id else None
        if waiting is not None:
            waiting.settle(reply)
        transcript = self._transcripts.pop(reply.request_id, None)
        for listener in transcript.listeners if transcript else ():
            if listener.correlation_id is None:
                listener.settle(reply)

    def _make_room(self) -> None:
        if len(self._transcripts) < self._max_transcripts:
            return
        idle = next((key for key, kept in self._transcripts.items() if not kept.listeners), None)
        if idle is not None:
            del self._transcripts[idle]
