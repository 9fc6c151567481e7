"""The rules of an embeddings request: ingest and the embedding stage check it by them."""

from streams.control.catalogue import ModelCatalogue
from streams.errors import InvalidRequest
from streams.events import EmbeddingsRequested
from streams.model_catalogue import EmbeddingModel, count_text
from streams.request_rules.chat import check_ids
from streams.settings import Settings


def check_embeddings(request: EmbeddingsRequested, settings: Settings, catalogue: ModelCatalogue) -> int:
    """Check a request and return its number of tokens, by our own count; raises as `check_chat`."""
    model = embedding_model(request.model, catalogue)
    max_inputs, max_tokens = settings.embedding_max_inputs, settings.max_input_tokens
    if len(request.inputs) > max_inputs:
        raise InvalidRequest(
            f"input has {len(request.inputs)} texts; at most {max_inputs} are allowed in one request: "
            "send the rest in further requests",
            code="too_many_inputs",
            param="input",
        )
    check_ids(request)
    _check_dimensions(request.dimensions, model)
    total = sum(_tokens(text, f"input[{index}]", model) for index, text in enumerate(request.inputs))
    if total > max_tokens:
        raise InvalidRequest(
            f"input has {total} tokens in all; at most {max_tokens} are allowed in one request: "
            "send some of the texts in further requests",
            code="max_tokens_per_request",
            param="input",
        )
    return total


def embedding_model(name: str, catalogue: ModelCatalogue) -> EmbeddingModel:
    """Return the model of that name; `InvalidRequest` where there is none that makes embeddings."""
    if (model := catalogue.embedding_model(name)) is None:
        known = ", ".join(sorted(catalogue.embedding))
        raise InvalidRequest(
            f"the model {name!r} does not exist, or makes no embeddings; those that do: {known}",
            code="model_not_found",
            param="model",
        )
    return model


def _tokens(text: str, where: str, model: EmbeddingModel) -> int:
    tokens = count_text(text)
    if tokens > model.context_window_tokens:
        raise InvalidRequest(
            f"{where} has {tokens} tokens; {model.name} takes {model.context_window_tokens}: "
            "shorten or split it",
            code="context_length_exceeded",
            param=where,
        )
    return tokens


def _check_dimensions(dimensions: int | None, model: EmbeddingModel) -> None:
    if dimensions is None:
        return
    if not model.takes_dimensions:
        raise InvalidRequest(
            f"{model.name} makes vectors of {model.max_dimensions} numbers only: leave dimensions out",
            code="unsupported_parameter",
            param="dimensions",
        )
    if dimensions > model.max_dimensions:
        raise InvalidRequest(
            f"dimensions must be from 1 to {model.max_dimensions} for {model.name}, not {dimensions}",
            code="invalid_value",
            param="dimensions",
        )
