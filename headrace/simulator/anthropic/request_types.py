"""What the Anthropic endpoint takes: the SDK's own type, and the limits that it does not say.

Importing this loads the SDK (about a second), so it is imported at the first call.
"""

from typing import Final

from anthropic.types.message_create_params import MessageCreateParamsBase

from headrace.simulator.request_validation import Limits, RequestType


class _MessageBody(MessageCreateParamsBase, total=False):
    stream: bool


class _SampledMessageBody(_MessageBody, total=False):
    temperature: float
    top_k: int
    top_p: float


_LIMITS: Limits = {"max_tokens": {"ge": 1}, "messages": {"min_length": 1}}
_SAMPLING_LIMITS: Limits = {
    "temperature": {"ge": 0.0, "le": 1.0},
    "top_k": {"ge": 0},
    "top_p": {"ge": 0.0, "le": 1.0},
}

BY_VERSION: Final = {
    # The SDK's type is that of the latest API version, which has no sampling parameters.
    "2026-10-21": RequestType(_MessageBody, limits=_LIMITS),
    "2023-06-01": RequestType(_SampledMessageBody, limits={**_LIMITS, **_SAMPLING_LIMITS}),
}
"""The request type of each API version served."""
