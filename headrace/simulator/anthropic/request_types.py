"""What the Anthropic endpoint takes: the SDK's own type, and the limits that it does not say."""

from collections.abc import Mapping

from headrace.simulator.request_validation import Limits, RequestType
from headrace.simulator.sdk_types import load_types

_LIMITS: Limits = {"max_tokens": {"ge": 1}, "messages": {"min_length": 1}}
_SAMPLING_LIMITS: Limits = {
    "temperature": {"ge": 0.0, "le": 1.0},
    "top_k": {"ge": 0},
    "top_p": {"ge": 0.0, "le": 1.0},
}


def _load() -> Mapping[str, RequestType]:
    from anthropic.types.message_create_params import MessageCreateParamsBase  # noqa: PLC0415

    class MessageBody(MessageCreateParamsBase, total=False):
        stream: bool

    class SampledMessageBody(MessageBody, total=False):
        temperature: float
        top_k: int
        top_p: float

    return {
        # The SDK's type is that of the latest API version, which has no sampling parameters.
        "2026-10-21": RequestType(MessageBody, _LIMITS),
        "2023-06-01": RequestType(SampledMessageBody, {**_LIMITS, **_SAMPLING_LIMITS}),
    }


MESSAGE_BY_VERSION = load_types(_load, "anthropic", "anthropic.types")
"""The request type of each API version served."""
