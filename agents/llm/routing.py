"""Which models are asked, in which order."""

from collections.abc import Collection, Iterable

import msgspec

from streams.models import MODELS, Model, ProviderName


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """The models to ask in turn, and those left out because the prompt does not fit."""

    models: tuple[Model, ...]
    too_small: tuple[Model, ...] = ()


def route(
    *,
    wanted: str,
    fallbacks: Iterable[str],
    providers: Collection[ProviderName],
    input_tokens: int,
    max_output_tokens: int,
) -> Routing:
    """Return the models to ask: the wanted one, then the fallbacks, each once.

    Left out are models that are not in the catalogue, models whose provider has no key, or cannot keep a
    parameter of the request, and models whose context window is too small for prompt and answer.

    Args:
        wanted: the model the request asks for, or its template's.
        fallbacks: the installation's fallback models, in order.
        providers: those there are keys for and that can keep the request's parameters.
        input_tokens: the size of the prompt.
        max_output_tokens: the longest answer asked for; a model that cannot write as much writes less.
    """
    known = [MODELS[name] for name in dict.fromkeys((wanted, *fallbacks)) if name in MODELS]
    served = [model for model in known if model.provider in providers]
    fitting = [
        model
        for model in served
        if input_tokens + longest_output(model, max_output_tokens) <= model.context_window_tokens
    ]
    return Routing(models=tuple(fitting), too_small=tuple(model for model in served if model not in fitting))


def longest_output(model: Model, max_output_tokens: int) -> int:
    """Return the longest answer to ask a model for, in tokens."""
    return min(max_output_tokens, model.max_output_tokens)
