"""Prices of models whose record states none: from the data of genai-prices, when the record is written.

The price is then part of the record, so that every process books by the same one, and a change of the data
changes nothing until somebody applies the file again.

    with_known_price(ControlId("model", "gpt-5"), {"provider": "openai", …})   # … plus {"price": {…}}
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from streams.control.specs import ControlId, InvalidControl

#: Their fields, and ours, per million tokens.
_RATES = {
    "input_mtok": "input_usd_per_million",
    "output_mtok": "output_usd_per_million",
    "cache_read_mtok": "cached_input_usd_per_million",
    "cache_write_mtok": "cache_write_usd_per_million",
    "cache_write_1h_mtok": "cache_write_1h_usd_per_million",
}
#: What is paid for besides tokens of text, which Headrace asks no model for.
_NOT_ASKED_FOR = ("audio", "image", "video", "web_search", "storage_search", "file", "character")


def with_known_price(of: ControlId, spec: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what a record says, with the known price of its model where it is one and states none.

    The provider's record must have the name that genai-prices has for the provider. Raises `InvalidControl`
    where no price is known, or it is none that a record can state.
    """
    if of.kind != "model" or not isinstance(spec, Mapping) or "price" in spec or "provider" not in spec:
        return spec
    provider, model = str(spec["provider"]), str(spec.get("upstream_name") or of.name)
    return {**spec, "price": _price(of, provider, model)}


def _price(of: ControlId, provider: str, model: str) -> dict[str, Any]:
    # A million and a half bytes of data, which no process but the one that writes the record needs.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415
    from genai_prices.types import TimeOfDateConstraint  # noqa: PLC0415

    unknown = _unknown(of, f"genai-prices knows no price of {model!r} at a provider {provider!r}")
    try:
        server, found = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        raise unknown from None
    if server.id != provider:  # it finds providers that are named alike
        raise unknown
    prices = found.prices if isinstance(found.prices, list) else []
    if any(isinstance(each.constraint, TimeOfDateConstraint) for each in prices):
        raise _unknown(of, f"the price of {model!r} depends on the time of day")
    said = {
        name: rate
        for name, rate in vars(found.get_prices(datetime.now(UTC))).items()
        if rate is not None and not any(each in name for each in _NOT_ASKED_FOR)
    }
    if not {"input_mtok"} <= set(said) <= set(_RATES):
        raise _unknown(of, f"the price of {model!r} has parts that a record cannot state: {', '.join(said)}")
    base = {_RATES[name]: str(getattr(rate, "base", rate)) for name, rate in said.items()}
    tiers = {name: rate.tiers for name, rate in said.items() if hasattr(rate, "tiers")}
    return base | (_long_context(of, model, said, tiers) if tiers else {})


def _long_context(
    of: ControlId, model: str, said: Mapping[str, Any], tiers: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the price of long prompts: one step, from which input and output cost so many times as much."""
    starts = {tier.start for each in tiers.values() for tier in each}
    times: dict[str, set[Decimal]] = {"input_times": set(), "output_times": set()}
    for name, rate in said.items():
        factor = tiers[name][0].price / rate.base if name in tiers else Decimal(1)
        times["output_times" if name == "output_mtok" else "input_times"].add(factor)
    if len(starts) != 1 or any(len(each) > 1 for each in times.values()):
        raise _unknown(of, f"the price of {model!r} has more steps than a record can state")
    factors = {name: str(next(iter(each), Decimal(1))) for name, each in times.items()}
    return {"long_context": {"above_tokens": starts.pop(), **factors}}


def _unknown(of: ControlId, why: str) -> InvalidControl:
    place = f"models.{of.name}.price"
    return InvalidControl(f"{place}: {why}: state the price; 0 is one", param=place)
