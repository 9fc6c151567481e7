"""The models that requests may name: the shipped ones, overlaid by the control records.

    models = LiveCatalogue()
    control.subscribe(models.follow)
    models.current.chat_model("llama3.2")    # as the records are now; None: there is no such model

A `ModelCatalogue` never changes: whoever keeps one for a call or a check reads consistent models.
"""

from collections.abc import Mapping
from decimal import Decimal
from itertools import chain

import msgspec

from streams.control.specs import ModelSpec, ProviderSpec, RatesSpec, protocols_of
from streams.control.state import ControlState
from streams.model_catalogue import (
    EMBEDDING_MODELS,
    MODELS,
    EmbeddingModel,
    LongContext,
    Model,
    ModelPrices,
    ProviderProtocol,
    Rates,
)


class ModelCatalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The models by name, the names by alias, and what the records say of providers.

    `protocols` has all providers, the shipped ones too.
    """

    chat: Mapping[str, Model]
    embedding: Mapping[str, EmbeddingModel]
    aliases: Mapping[str, str]
    providers: Mapping[str, ProviderSpec]
    protocols: Mapping[str, ProviderProtocol]

    @classmethod
    def of(cls, state: ControlState) -> "ModelCatalogue":
        """Return the catalogue that the records make of the shipped one.

        A model whose provider is not there (yet) is left out.
        """
        providers = state.specs(ProviderSpec)
        protocols = protocols_of(providers)
        versions = {of.name: record.version for of, record in state.records.items() if of.kind == "model"}
        chat, embedding = dict(MODELS), dict(EMBEDDING_MODELS)
        aliases: dict[str, str] = {}
        for name, spec in state.specs(ModelSpec).items():
            if spec.provider not in protocols:
                continue
            model = _model(name, spec, protocols[spec.provider], version=versions[name])
            if isinstance(model, EmbeddingModel):
                embedding[name] = model
                chat.pop(name, None)
            else:
                chat[name] = model
                embedding.pop(name, None)
            aliases |= dict.fromkeys(spec.aliases, name)
        return cls(chat=chat, embedding=embedding, aliases=aliases, providers=providers, protocols=protocols)

    @property
    def models(self) -> Mapping[str, Model]:
        """All models, by name."""
        return {**self.chat, **self.embedding}

    def chat_model(self, name: str) -> Model | None:
        """Return the model of a name or an alias that chats."""
        return self.chat.get(name) or self.chat.get(self.aliases.get(name, ""))

    def embedding_model(self, name: str) -> EmbeddingModel | None:
        """Return the model of a name or an alias that makes embeddings."""
        return self.embedding.get(name) or self.embedding.get(self.aliases.get(name, ""))

    def priced_as(self, asked: Model, answered: str | None) -> Model:
        """Return the model whose prices count for an answer: the one that its provider says has answered.

        A dated snapshot such as ``gpt-4o-2024-08-06`` is in no catalogue: then it is the model asked for.
        """
        if answered is None or answered == asked.upstream_name:
            return asked
        known = chain(self.chat.values(), self.embedding.values())
        same = (each for each in known if each.provider == asked.provider)
        named = (each for each in same if each.upstream_name == answered)
        return min(named, key=lambda each: each.name, default=asked)


SHIPPED = ModelCatalogue(
    chat=MODELS,
    embedding=EMBEDDING_MODELS,
    aliases={},
    providers={},
    protocols=protocols_of({}),
)


class LiveCatalogue:
    """Holds the catalogue as the control records have it now; `follow` is for `ControlFollower.subscribe`."""

    def __init__(self, current: ModelCatalogue = SHIPPED) -> None:
        self.current = current

    def follow(self, state: ControlState) -> None:
        """Take up a change of the control records."""
        self.current = ModelCatalogue.of(state)


def _model(name: str, spec: ModelSpec, protocol: ProviderProtocol, *, version: int) -> Model:
    said = Model(
        **msgspec.structs.asdict(prices_of(name, spec, version=version)),
        provider=spec.provider,
        protocol=protocol,
        upstream_name=spec.upstream_name or name,
        context_window_tokens=spec.context_window_tokens,
        max_output_tokens=spec.max_output_tokens,
    )
    if spec.embedding is None:
        return said
    return EmbeddingModel(**msgspec.structs.asdict(said), **msgspec.structs.asdict(spec.embedding))


def prices_of(name: str, spec: ModelSpec, *, version: int) -> ModelPrices:
    """Return the prices that a version of a model's record states."""
    return ModelPrices(
        name=name,
        price=_rates(spec.price),
        price_version=f"model:{name}@{version}",
        service_tiers={tier: _rates(rates) for tier, rates in spec.price.service_tiers.items()},
        long_context=_long_context(spec),
    )


def _rates(spec: RatesSpec) -> Rates:
    input_usd, output_usd = spec.input_usd_per_million, spec.output_usd_per_million or Decimal(0)
    cache_write_usd = _given(spec.cache_write_usd_per_million, input_usd)
    return Rates(
        input_usd=input_usd,
        cached_input_usd=_given(spec.cached_input_usd_per_million, input_usd),
        cache_write_usd=cache_write_usd,
        cache_write_1h_usd=_given(spec.cache_write_1h_usd_per_million, cache_write_usd),
        output_usd=output_usd,
        reasoning_usd=_given(spec.reasoning_usd_per_million, output_usd),
    )


def _given(usd: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if usd is None else usd


def _long_context(spec: ModelSpec) -> LongContext | None:
    long = spec.price.long_context
    if long is None:
        return None
    return LongContext(
        above_tokens=long.above_tokens,
        most_tokens=spec.context_window_tokens,
        input_times=long.input_times,
        output_times=long.output_times,
    )
