"""The prices that calls were booked at: the shipped ones, and those of every version of a model's record.

prices = BookedPrices()
control.subscribe_history(prices.learn)    # before the follower starts: it reads the topic once
"""

from collections.abc import Iterable, Iterator

from streams.control.catalogue import prices_of
from streams.control.specs import InvalidControl, ModelSpec, read_spec
from streams.events import ControlRecord
from streams.model_catalogue import PRICED_MODELS, ModelPrices


class BookedPrices:
    """Iterates over the prices, by price version and model."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], ModelPrices] = {}
        self._add(PRICED_MODELS.values())

    def __iter__(self) -> Iterator[ModelPrices]:
        return iter(self._known.values())

    def learn(self, record: ControlRecord) -> None:
        """Take up a version of a control record; for `ControlFollower.subscribe_history`."""
        if record.kind != "model" or record.spec is None:
            return
        try:
            spec = read_spec(record.kind, record.name, record.spec)
        except InvalidControl:  # another version of Headrace booked by it; the follower logs it
            return
        if isinstance(spec, ModelSpec):
            self._add([prices_of(record.name, spec, version=record.version)])

    def _add(self, prices: Iterable[ModelPrices]) -> None:
        self._known |= {(each.price_version, each.name): each for each in prices}
