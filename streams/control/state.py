"""The control records that hold: an immutable state, and how a record of the topic changes it.

The topic is compacted. A record's present version has the key ``kind:name`` and goes by a tombstone; each
version stays for good under ``history/version/kind:name``, so that it can be shown and taken back.
"""

from collections.abc import Iterable, Mapping
from typing import Self, TypeVar

from streams.control.document import shipped_records
from streams.control.specs import (
    KINDS,
    ControlId,
    InvalidControl,
    KeySpec,
    LimitSpec,
    ModelSpec,
    ProviderSpec,
    Spec,
    read_spec,
)
from streams.events import ControlRecord
from streams.model_catalogue import PRICED_MODELS, ProviderProtocol

S = TypeVar("S", bound=Spec)

_HISTORY = "history"


def history_key(of: ControlId, version: int) -> str:
    """Return the key under which a version is kept."""
    return f"{_HISTORY}/{version}/{of}"


def read_key(key: bytes | None) -> tuple[ControlId, int | None]:
    """Return which record a key of the topic is of, and of which version if it is one of the history."""
    text = (key or b"").decode(errors="replace")
    if not text.startswith(f"{_HISTORY}/"):
        return ControlId.parse(text), None
    _, version, rest = text.split("/", 2)
    return ControlId.parse(rest), int(version)


class ControlState:
    """The records that hold, by id, and what they say. What is shipped holds where no record says otherwise.

    state.specs(LimitSpec)["free"].per_user.requests_per_minute
    """

    def __init__(self, records: Mapping[ControlId, ControlRecord] | None = None) -> None:
        self.records = dict(records or {})
        self._specs: dict[type[Spec], dict[str, Spec]] = {form: {} for _, form in KINDS.values()}
        said = shipped_records() | {of: record.spec for of, record in self.records.items()}
        for of, spec in said.items():
            self._specs[KINDS[of.kind][1]][of.name] = read_spec(of.kind, of.name, spec)

    def specs(self, form: type[S]) -> Mapping[str, S]:
        """Return what the records of a kind say, by name."""
        return self._specs[form]  # type: ignore[return-value]  # filled by kind

    def learned(self, changes: Iterable[tuple[ControlId, ControlRecord | None]]) -> Self:
        """Return the state with records set, or taken away (None). Raises `InvalidControl`."""
        records = dict(self.records)
        for of, record in changes:
            if record is None or record.spec is None:
                records.pop(of, None)
            else:
                records[of] = record
        return type(self)(records)

    def check(self) -> None:
        """Check that what records say of each other is there; `InvalidControl` names what is not."""
        tiers = self.specs(LimitSpec)
        for name, key in self.specs(KeySpec).items():
            if key.tier not in tiers:
                raise InvalidControl(
                    f"keys.{name}.tier: there are no limits for the tier {key.tier!r}; there are: "
                    f"{', '.join(sorted(tiers)) or 'none'}",
                    param=f"keys.{name}.tier",
                )
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
        protocols = {each.value: each for each in ProviderProtocol}
        protocols |= {name: spec.protocol for name, spec in providers.items()}
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
