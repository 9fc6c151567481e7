"""The example of docs/providers.md: a provider whose API is like nobody else's."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from agents.providers.answers.chat_api import ChatApi
from agents.providers.faults import Overloaded
from agents.providers.provider import Answer
from tests.agents.providers.odd_servers import CALL, Bench, sse
from tests.agents.providers.simulated import complete, streamed

PAGE = Path(__file__).parents[3] / "docs" / "providers.md"
WHOLE = {"model": "oracle-1", "text": "Hi there", "end": "stop", "tokens": {"in": 3, "out": 2}}


@pytest.fixture(scope="module")
def oracle() -> type[ChatApi]:
    """The adapter, from the page itself."""
    found: dict[str, Any] = {}
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(dedent(example), found)  # noqa: S102  # the page is ours
    adapter: type[ChatApi] = found["Oracle"]
    return adapter


@pytest.mark.asyncio(loop_scope="module")
async def test_the_adapter_of_the_page_answers(oracle: type[ChatApi], servers: Bench) -> None:
    """Whole and in pieces; its usage is booked as it is reported."""
    provider = oracle(api_key="k", base_url=servers.server.base)
    servers.server.say(msgspec.json.encode(WHOLE))
    whole = await complete(provider, CALL)
    assert (whole.text, whole.finish_reason, whole.usage.input_tokens) == ("Hi there", "stop", 3)
    servers.server.say(sse({"text": "Hi "}, {"text": "there"}, WHOLE | {"text": ""}, "[DONE]"))
    events = [event async for event in streamed(provider, CALL)]
    assert isinstance(events[-1], Answer)
    assert events[-1] == whole
    servers.server.say(b'{"error": {"type": "overloaded_error", "message": "busy"}}', status="503 Busy")
    with pytest.raises(Overloaded, match="busy"):
        await complete(provider, CALL)
    await provider.aclose()
