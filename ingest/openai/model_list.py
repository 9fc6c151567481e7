"""The models that requests may name, as OpenAI's list and as Anthropic's."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streams.models import PRICED_MODELS, EmbeddingModel, Model, ProviderName
from streams.serving.errors import invalid, not_found
from streams.settings import Settings

MAX_PAGE = 1000
#: Neither API has a word for an unknown date; Anthropic's documentation gives the epoch that meaning.
_UNKNOWN_RELEASE_S = 0
_UNKNOWN_RELEASE = "1970-01-01T00:00:00Z"


class ModelPage(msgspec.Struct, frozen=True):
    """Some of the models, and whether there are more in the direction that was asked for."""

    models: Sequence[Model]
    has_more: bool


def available_models(settings: Settings, *, catalogue: Mapping[str, Model] = PRICED_MODELS) -> list[Model]:
    """Return the models whose provider is configured here, in the catalogue's order.

    Only workers need the providers' keys: if ingest has none of them, all models are returned.

    Args:
        settings: of this installation.
        catalogue: all models by name; without those that make embeddings: `MODELS`.
    """
    if not any(settings.provider_key(provider) for provider in ProviderName):
        return list(catalogue.values())
    return [model for model in catalogue.values() if settings.provider_key(model.provider)]


def find_model(name: str, settings: Settings, *, catalogue: Mapping[str, Model] = PRICED_MODELS) -> Model:
    """Return the model of that name; for the arguments see `available_models`.

    Raises:
        ApiError: 404, there is none.
    """
    available = {model.name: model for model in available_models(settings, catalogue=catalogue)}
    if name not in available:
        known = ", ".join(sorted(available))
        raise not_found(
            f"the model {name[:128]!r} does not exist; known models: {known}",
            code="model_not_found",
            param="model",
        )
    return available[name]


def page_of(models: Sequence[Model], *, limit: int, after_id: str | None, before_id: str | None) -> ModelPage:
    """Return `limit` models after (or before) the one with that id; the first ones without either.

    Raises:
        ApiError: 400, there is no model with that id, or both are given.
    """
    if after_id is not None and before_id is not None:
        raise invalid("give either after_id or before_id, not both", param="before_id")
    if before_id is not None:
        rest = models[: _index(models, before_id, "before_id")]
        return ModelPage(rest[-limit:], len(rest) > limit)
    rest = models if after_id is None else models[_index(models, after_id, "after_id") + 1 :]
    return ModelPage(rest[:limit], len(rest) > limit)


def openai_model(model: Model) -> dict[str, Any]:
    """Return OpenAI's `model` object, with Headrace's own fields under `headrace`."""
    return {
        "id": model.name,
        "object": "model",
        "created": _UNKNOWN_RELEASE_S,
        "owned_by": model.provider,
        "headrace": {
            "endpoint": "/v1/embeddings" if isinstance(model, EmbeddingModel) else "/v1/chat/completions",
            "context_window_tokens": model.context_window_tokens,
            "input_usd_per_million": model.input_usd_per_million,
            **_beyond(model),
        },
    }


def _beyond(model: Model) -> dict[str, Any]:
    if isinstance(model, EmbeddingModel):
        return {"max_dimensions": model.max_dimensions, "takes_dimensions": model.takes_dimensions}
    return {
        "max_output_tokens": model.max_output_tokens,
        "cached_input_usd_per_million": model.cached_input_usd_per_million,
        "output_usd_per_million": model.output_usd_per_million,
    }


def openai_list(models: Sequence[Model]) -> dict[str, Any]:
    """Return OpenAI's list of models."""
    return {"object": "list", "data": [openai_model(model) for model in models]}


def anthropic_model(model: Model, *, max_tokens: int) -> dict[str, Any]:
    """Return Anthropic's `model` object.

    Args:
        model: the model.
        max_tokens: the most that a request may ask for, whatever the model could do.
    """
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _UNKNOWN_RELEASE,
        "lifecycle": "active",
        "max_input_tokens": model.context_window_tokens,
        "max_tokens": min(model.max_output_tokens, max_tokens),
    }


def anthropic_list(page: ModelPage, *, max_tokens: int) -> dict[str, Any]:
    """Return one page of Anthropic's list of models."""
    data = [anthropic_model(model, max_tokens=max_tokens) for model in page.models]
    return {
        "data": data,
        "has_more": page.has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _index(models: Sequence[Model], name: str, param: str) -> int:
    for index, model in enumerate(models):
        if model.name == name:
            return index
    raise invalid(f"{param} must be the id of a model in the list", param=param)
