"""The control records that hold: an immutable state, and how new versions change it."""

from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeVar

import structlog

from streams.control.document import shipped_records
from streams.control.records import id_of
from streams.control.specs import (
    KINDS,
    ControlId,
    InvalidControl,
    IssuerSpec,
    KeySpec,
    LimitSpec,
    ModelSpec,
    ProviderSpec,
    Spec,
    protocols_of,
    read_spec,
)
from streams.events import ControlRecord
from streams.model_catalogue import PRICED_MODELS, ProviderProtocol

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=Spec)


def described(record: ControlRecord) -> dict[str, Any]:
    """Return a version as programs read it."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


class ControlState:
    """The records that hold, by id, and what they say. What is shipped holds where no record says otherwise.

    state.specs(LimitSpec)["free"].per_user.requests_per_minute
    """

    def __init__(
        self,
        records: Mapping[ControlId, ControlRecord] | None = None,
        specs: Mapping[type[Spec], Mapping[str, Spec]] | None = None,
    ) -> None:
        self.records = records or {}
        self._specs = specs or _shipped_specs()

    def specs(self, form: type[S]) -> Mapping[str, S]:
        """Return what the records of a kind say, by name."""
        return self._specs[form]  # type: ignore[return-value]  # filled by kind

    def listed(self) -> list[dict[str, Any]]:
        """Return what holds, by kind and name; what is shipped has version 0."""
        shipped = {of: {"version": 0, "spec": spec} for of, spec in shipped_records().items()}
        said = shipped | {of: described(record) for of, record in self.records.items()}
        return [{"kind": of.kind, "name": of.name} | said[of] for of in sorted(said)]

    def find(self, of: ControlId) -> dict[str, Any] | None:
        """Return a record that holds, as `listed` has it; None for none."""
        return next(
            (each for each in self.listed() if (each["kind"], each["name"]) == (of.kind, of.name)), None
        )

    def learned(self, versions: Iterable[ControlRecord]) -> Self:
        """Return the state with these versions applied; of one record they come in their order.

        One that this version of Headrace cannot read, because another one wrote it, changes nothing.
        """
        records = dict(self.records)
        specs = {form: dict(said) for form, said in self._specs.items()}
        for record in versions:
            of = id_of(record)
            try:
                spec = shipped_records().get(of) if record.spec is None else record.spec
                found = None if spec is None else read_spec(of.kind, of.name, spec)
            except InvalidControl as fault:
                log.warning("control.refused", record=str(of), version=record.version, error=fault.message)
                continue
            if record.spec is None:
                records.pop(of, None)
            else:
                records[of] = record
            if found is not None:
                specs[type(found)][of.name] = found
            elif of.kind in KINDS:
                specs[KINDS[of.kind][1]].pop(of.name, None)
        return type(self)(records, specs)

    def check(self) -> None:
        """Check that what records say of each other is there; `InvalidControl` names what is not."""
        tiers = self.specs(LimitSpec)
        named = {f"keys.{name}.tier": key.tier for name, key in self.specs(KeySpec).items()}
        named |= {f"issuers.{name}.tier": each.tier for name, each in self.specs(IssuerSpec).items()}
        for place, tier in named.items():
            if tier not in tiers:
                raise InvalidControl(
                    f"{place}: there are no limits for the tier {tier!r}; there are: "
                    f"{', '.join(sorted(tiers)) or 'none'}",
                    param=place,
                )
        urls = [each.url for each in self.specs(IssuerSpec).values()]
        if twice := {url for url in urls if urls.count(url) > 1}:
            raise InvalidControl(f"issuers: {min(twice)} is there twice", param="issuers")
        self._check_providers()
        self._check_models()

    def _check_providers(self) -> None:
        for shipped in ProviderProtocol:
            spec = self.specs(ProviderSpec).get(shipped)
            if spec is not None and spec.protocol is not shipped:
                raise InvalidControl(
                    f"providers.{shipped}.protocol must be {shipped}, which the shipped models of {shipped} "
                    "need: give the provider another name",
                    param=f"providers.{shipped}.protocol",
                )

    def _check_models(self) -> None:
        models, providers = self.specs(ModelSpec), self.specs(ProviderSpec)
        protocols = protocols_of(providers)
        taken = dict.fromkeys([*PRICED_MODELS, *models], "a model")
        for name, model in models.items():
            if model.provider not in protocols:
                raise InvalidControl(
                    f"models.{name}.provider: there is no provider {model.provider!r}; there are: "
                    f"{', '.join(sorted(protocols))}",
                    param=f"models.{name}.provider",
                )
            if model.embedding is not None and protocols[model.provider] is not ProviderProtocol.OPENAI:
                raise InvalidControl(
                    f"models.{name}.embedding: {model.provider} speaks {protocols[model.provider]}, which "
                    "has no embeddings: name a provider that speaks openai",
                    param=f"models.{name}.embedding",
                )
            for alias in model.aliases:
                if alias in taken:
                    raise InvalidControl(
                        f"models.{name}.aliases: {alias!r} is already the name of {taken[alias]}",
                        param=f"models.{name}.aliases",
                    )
                taken[alias] = f"models.{name}"


def _shipped_specs() -> dict[type[Spec], dict[str, Spec]]:
    specs: dict[type[Spec], dict[str, Spec]] = {form: {} for _, form in KINDS.values()}
    for of, spec in shipped_records().items():
        specs[KINDS[of.kind][1]][of.name] = read_spec(of.kind, of.name, spec)
    return specs
