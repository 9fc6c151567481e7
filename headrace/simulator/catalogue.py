"""Serves what needs no generation: the lists of models and the count of tokens."""

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.simulator.anthropic_request import count_request, find_model
from headrace.simulator.calls import Call, Endpoint
from headrace.simulator.openai_request import unknown_model
from headrace.simulator.refusals import encode
from streams.models import Model, ProviderName

_RELEASED_UNIX_S = 1_715_367_049
_RELEASED = "2025-05-14T00:00:00Z"


class OpenAIModels(Endpoint):
    """`GET …/models` and `GET …/models/NAME` of the OpenAI API."""

    async def serve(self, call: Call) -> None:
        """List the models, or show one."""
        self.dialect.authorise(call.exchange.headers, self.provider.keys)
        names = [
            name for name, model in self.provider.models.items() if model.provider is ProviderName.OPENAI
        ]
        names += self.provider.embedding_prices
        wanted = _named(call.exchange.path)
        if wanted is None:
            listing = {"object": "list", "data": [_openai_model(name) for name in names]}
            await call.exchange.answer(200, encode(listing), call.headers)
        elif wanted in names:
            await call.exchange.answer(200, encode(_openai_model(wanted)), call.headers)
        else:
            raise unknown_model(wanted)


def _named(path: str) -> str | None:
    after = path.rpartition("/models")[2].strip("/")
    return after or None


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _RELEASED_UNIX_S, "owned_by": "headrace-simulator"}


class AnthropicModels(Endpoint):
    """`GET …/models` and `GET …/models/NAME` of the Anthropic API."""

    async def serve(self, call: Call) -> None:
        """List the models, or show one."""
        self.dialect.authorise(call.exchange.headers, self.provider.keys)
        wanted = _named(call.exchange.path)
        if wanted is not None:
            found = find_model(wanted, self.provider.models)
            await call.exchange.answer(200, encode(_anthropic_model(found)), call.headers)
            return
        mine = [model for model in self.provider.models.values() if model.provider is ProviderName.ANTHROPIC]
        await call.exchange.answer(200, encode(_page(mine)), call.headers)


def _page(models: Sequence[Model]) -> dict[str, Any]:
    return {
        "data": [_anthropic_model(model) for model in models],
        "has_more": False,
        "first_id": models[0].name if models else None,
        "last_id": models[-1].name if models else None,
    }


def _anthropic_model(model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _RELEASED,
        "lifecycle": "active",
        "max_input_tokens": model.context_window_tokens,
        "max_tokens": model.max_output_tokens,
    }


class TokenCounts(Endpoint):
    """`POST …/messages/count_tokens` of the Anthropic API; free of charge."""

    async def serve(self, call: Call) -> None:
        """Count the input tokens of a request."""
        tokens = count_request(await call.json_body(), self.provider.models)
        await call.exchange.answer(200, msgspec.json.encode({"input_tokens": tokens}), call.headers)
