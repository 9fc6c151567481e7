"""A reply as it goes over the wire: whole, or as the frames of a stream."""

from collections.abc import Sequence

import msgspec

from headrace.simulator.generation import Called, Said


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds a generation: its id, when it was made (Unix seconds), how much input was cached."""

    call_id: str
    created: int
    cached_tokens: int = 0


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a stream: its bytes and the part of the output in them, by block."""

    data: bytes
    block: int
    text: str


class StreamScript(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of one stream: what opens it, its chunks, and what ends it."""

    opening: bytes
    frames: tuple[Frame, ...]
    closing: bytes


def partial(blocks: Sequence[Said | Called], frames: Sequence[Frame]) -> list[Said | Called]:
    """Return the part of the output that the given frames carry."""
    sent: list[Said | Called] = []
    for index, block in enumerate(blocks):
        texts = [frame.text for frame in frames if frame.block == index]
        if texts and isinstance(block, Said):
            sent.append(Said(text="".join(texts)))
        elif texts and isinstance(block, Called):
            sent.append(Called(name=block.name, arguments="".join(texts)))
    return sent
