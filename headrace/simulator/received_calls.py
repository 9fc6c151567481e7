"""The bodies of the latest calls, for `GET /received`."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

_MOST_CALLS: Final = 256
_MOST_BYTES: Final = 64 * 1024


class ReceivedCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call: its header `X-Headrace-Call-Id`, and the first 64 KiB of its body."""

    client_request_id: str | None
    body: str


class ReceivedCalls:
    """The latest 256 calls whose key was right."""

    def __init__(self) -> None:
        self._calls: deque[ReceivedCall] = deque(maxlen=_MOST_CALLS)

    def add(self, client_request_id: str | None, body: bytes) -> None:
        """Keep a body."""
        text = body[:_MOST_BYTES].decode("utf-8", "replace")
        self._calls.append(ReceivedCall(client_request_id=client_request_id, body=text))

    def containing(self, fragment: str) -> Sequence[ReceivedCall]:
        """Return the calls in whose bodies a text stands, the latest last."""
        return [call for call in self._calls if fragment in call.body]
