"""A streamed reply, frame by frame, as it goes over the wire."""

from collections.abc import Sequence

import msgspec

from headrace.simulator.generation.generate import OutputBlock, SaidText, ToolCallBlock


class ReplyHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply says besides its content: its id, when it was made (Unix seconds), the cached input."""

    call_id: str
    created: int
    cached_tokens: int = 0


class StreamFrame(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a stream: its bytes and the part of the output in them, by block."""

    data: bytes
    block: int
    text: str


class StreamScript(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of one stream: what opens it, its chunks, and what ends it."""

    opening: bytes
    frames: tuple[StreamFrame, ...]
    closing: bytes


def sent_blocks(blocks: Sequence[OutputBlock], frames: Sequence[StreamFrame]) -> list[OutputBlock]:
    """Return the part of the output that the given frames carry."""
    sent: list[OutputBlock] = []
    for index, block in enumerate(blocks):
        texts = [frame.text for frame in frames if frame.block == index]
        if texts and isinstance(block, SaidText):
            sent.append(SaidText(text="".join(texts)))
        elif texts and isinstance(block, ToolCallBlock):
            sent.append(ToolCallBlock(name=block.name, arguments="".join(texts)))
    return sent
