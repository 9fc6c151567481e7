"""Which models are asked, in which order."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from agents.paid_calls.route import Route
from streams.models import MODELS, Model, ProviderName


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """The models to ask in turn.

    `too_small` are those left out because the prompt does not fit.
    """

    routes: tuple[Route, ...]
    too_small: tuple[Model, ...] = ()


def route(
    *,
    wanted: str,
    fallbacks: Iterable[str],
    providers: Collection[ProviderName],
    input_tokens: int,
    max_output_tokens: int,
    models: Mapping[str, Model] = MODELS,
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
        models: the catalogue.
    """
    known = [models[name] for name in dict.fromkeys((wanted, *fallbacks)) if name in models]
    served = [model for model in known if model.provider in providers]
    routes = [
        Route(model=model, max_output_tokens=min(max_output_tokens, model.max_output_tokens))
        for model in served
    ]
    fitting = [r for r in routes if input_tokens + r.max_output_tokens <= r.model.context_window_tokens]
    return Routing(routes=tuple(fitting), too_small=tuple(r.model for r in routes if r not in fitting))
