"""`GET /v1/models`: which models requests may name, for OpenAI's clients and for Anthropic's."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from ingest.anthropic.errors import speaks_anthropic
from ingest.auth import authenticate
from ingest.openai.model_list import (
    MAX_PAGE,
    anthropic_list,
    anthropic_model,
    available_models,
    find_model,
    openai_list,
    openai_model,
    page_of,
)
from ingest.services import ServicesDep
from streams.models import MODELS
from streams.serving.json_response import JsonResponse
from streams.serving.openapi import errors

# A key is needed; whose it is does not matter.
router = APIRouter(tags=["models"], dependencies=[Depends(authenticate)])

_ANTHROPIC = "for requests with `anthropic-version`, which get Anthropic's list"


@router.get("/v1/models")
async def list_models(
    request: Request,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description=_ANTHROPIC)] = 20,
    after_id: Annotated[str | None, Query(description=_ANTHROPIC)] = None,
    before_id: Annotated[str | None, Query(description=_ANTHROPIC)] = None,
) -> Response:
    """List the models."""
    if not speaks_anthropic(request):
        return JsonResponse(openai_list(available_models(services.settings)))
    models = available_models(services.settings, catalogue=MODELS)
    page = page_of(models, limit=limit, after_id=after_id, before_id=before_id)
    body = anthropic_list(page, max_tokens=services.settings.max_tokens_per_request)
    return JsonResponse(body, headers={"request-id": request.state.request_id})


@router.get("/v1/models/{model_id}", responses=errors(404))
async def get_model(request: Request, services: ServicesDep, model_id: str) -> Response:
    """Describe one model."""
    if not speaks_anthropic(request):
        return JsonResponse(openai_model(find_model(model_id, services.settings)))
    model = find_model(model_id, services.settings, catalogue=MODELS)
    body = anthropic_model(model, max_tokens=services.settings.max_tokens_per_request)
    return JsonResponse(body, headers={"request-id": request.state.request_id})
