"""`GET /v1/models`: the models that requests may name, as OpenAI's list and as Anthropic's."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from ingest.auth import of_a_tenant
from ingest.errors import speaks_anthropic
from ingest.services import ServicesDep
from streams.control.catalogue import ModelCatalogue
from streams.model_catalogue import EmbeddingModel, Model, ProviderProtocol
from streams.serving.fastapi_errors import errors
from streams.serving.responses import JsonResponse, invalid, not_found
from streams.settings import Settings

# Any tenant's key will do: the list is the same for all.
router = APIRouter(tags=["models"], dependencies=[Depends(of_a_tenant)])

_MAX_PAGE = 1000
#: Neither API has a word for an unknown date; Anthropic's documentation gives the epoch that meaning.
_UNKNOWN_RELEASE_S = 0
_UNKNOWN_RELEASE = "1970-01-01T00:00:00Z"
_ANTHROPIC = "for requests with `anthropic-version`, which get Anthropic's list"


@router.get("/v1/models")
async def list_models(
    request: Request,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE, description=_ANTHROPIC)] = 20,
    after_id: Annotated[str | None, Query(description=_ANTHROPIC)] = None,
    before_id: Annotated[str | None, Query(description=_ANTHROPIC)] = None,
) -> Response:
    """List the models."""
    if not speaks_anthropic(request):
        models = available_models(services.settings, services.models.current)
        return JsonResponse({"object": "list", "data": [openai_model(model) for model in models.values()]})
    chat_models = list(available_models(services.settings, services.models.current, chat=True).values())
    page, has_more = page_of(chat_models, limit=limit, after_id=after_id, before_id=before_id)
    data = [anthropic_model(model, services.settings) for model in page]
    body = {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
    return JsonResponse(body, headers={"request-id": request.state.request_id})


@router.get("/v1/models/{model_id}", responses=errors(404))
async def get_model(request: Request, services: ServicesDep, model_id: str) -> Response:
    """Describe one model."""
    anthropic = speaks_anthropic(request)
    catalogue = services.models.current
    models = available_models(services.settings, catalogue, chat=anthropic)
    model = models.get(catalogue.aliases.get(model_id, model_id))
    if model is None:
        raise not_found(
            f"the model {model_id[:128]!r} does not exist; known models: {', '.join(sorted(models))}",
            code="model_not_found",
            param="model",
        )
    if not anthropic:
        return JsonResponse(openai_model(model))
    headers = {"request-id": request.state.request_id}
    return JsonResponse(anthropic_model(model, services.settings), headers=headers)


def available_models(
    settings: Settings, catalogue: ModelCatalogue, *, chat: bool = False
) -> dict[str, Model]:
    """Return the models (with `chat`, those that chat) whose provider is configured, by name."""
    # Only workers need the providers' keys: if ingest has none of them, all models are returned.
    with_key = {provider.value for provider in ProviderProtocol if settings.provider_key(provider)}
    models = catalogue.chat if chat else catalogue.models
    return {
        name: model
        for name, model in models.items()
        if not with_key or model.provider in with_key or model.provider in catalogue.providers
    }


def page_of(
    models: Sequence[Model], *, limit: int, after_id: str | None, before_id: str | None
) -> tuple[Sequence[Model], bool]:
    """Return `limit` models after (or before) the one with that id, and whether there are more; else 400."""
    if after_id is not None and before_id is not None:
        raise invalid("give either after_id or before_id, not both", param="before_id")
    names = [model.name for model in models]
    for param, name in (("after_id", after_id), ("before_id", before_id)):
        if name is not None and name not in names:
            raise invalid(f"{param} must be the id of a model in the list", param=param)
    if before_id is not None:
        rest = models[: names.index(before_id)]
        return rest[-limit:], len(rest) > limit
    rest = models if after_id is None else models[names.index(after_id) + 1 :]
    return rest[:limit], len(rest) > limit


def openai_model(model: Model) -> dict[str, Any]:
    """Return OpenAI's `model` object, with Headrace's own fields under `headrace`."""
    own: dict[str, Any] = {
        "endpoint": "/v1/chat/completions",
        "context_window_tokens": model.context_window_tokens,
        "input_usd_per_million": model.price.input_usd,
    }
    if isinstance(model, EmbeddingModel):
        own |= {
            "endpoint": "/v1/embeddings",
            "max_dimensions": model.max_dimensions,
            "takes_dimensions": model.takes_dimensions,
        }
    else:
        own |= {
            "max_output_tokens": model.max_output_tokens,
            "cached_input_usd_per_million": model.price.cached_input_usd,
            "output_usd_per_million": model.price.output_usd,
        }
    return {
        "id": model.name,
        "object": "model",
        "created": _UNKNOWN_RELEASE_S,
        "owned_by": model.provider,
        "headrace": own,
    }


def anthropic_model(model: Model, settings: Settings) -> dict[str, Any]:
    """Return Anthropic's `model` object; its `max_tokens` is bounded by the limit of a request."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _UNKNOWN_RELEASE,
        "lifecycle": "active",
        "max_input_tokens": model.context_window_tokens,
        "max_tokens": min(model.max_output_tokens, settings.max_tokens_per_request),
    }
