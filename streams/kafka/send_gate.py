"""Bounds how many sends wait for a broker that does not answer, and how long. In memory, without I/O."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.errors import KafkaUnavailable

_RETRY_AFTER_S = 2.0


class SendGate:
    """Lets sends through while the broker acknowledges, and refuses them at once in a long outage.

    Sends wait out a short outage, such as a broker's restart. After `max_silence_s` without an
    acknowledgement one send at a time still tries whether the broker is back, and all others are refused; the
    first acknowledgement opens the gate again.

    Args:
        max_silence_s: the time without an acknowledgement after which sends are refused, in seconds.
        max_waiting: the most sends that wait at once.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, *, max_silence_s: float, max_waiting: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_silence_s = max_silence_s
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting = 0
        self._unanswered_since: float | None = None
        self._failed_at: float | None = None

    @property
    def silent_s(self) -> float:
        """How long no send has been acknowledged while some waited or failed, in seconds."""
        return self._clock() - self._unanswered_since if self._unanswered_since is not None else 0.0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Surround one send. `KafkaUnavailable` inside means that the broker did not answer.

        Raises:
            KafkaUnavailable: the send is refused; nothing may be sent.
        """
        self._enter()
        try:
            yield
        except KafkaUnavailable:
            self._failed_at = self._clock()
            raise
        else:
            self._unanswered_since, self._failed_at = self._clock(), None
        finally:
            self._waiting -= 1
            if not self._waiting and self._failed_at is None:
                self._unanswered_since = None

    def _enter(self) -> None:
        if self._waiting >= self._max_waiting:
            raise KafkaUnavailable(
                f"{self._waiting} sends wait for the broker already", retry_after_s=_RETRY_AFTER_S
            )
        if self._waiting and self.silent_s >= self._max_silence_s:
            raise KafkaUnavailable(
                f"the broker has acknowledged nothing for {self.silent_s:.0f} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        failed_s = self._clock() - self._failed_at if self._failed_at is not None else 0.0
        if not self._waiting and failed_s >= self._max_silence_s:
            self._unanswered_since, self._failed_at = None, None  # that outage may be over
        self._waiting += 1
        if self._unanswered_since is None:
            self._unanswered_since = self._clock()
