"""Serves `POST …/embeddings`: vectors in which texts that share words are near each other."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.simulator import shapes
from headrace.simulator.behaviour import FaultKind
from headrace.simulator.calls import Bill, Call, Endpoint
from headrace.simulator.invoice import BilledAs
from headrace.simulator.openai_request import model_name, unknown_model
from headrace.simulator.raw_answers import play
from headrace.simulator.refusals import Refusal, encode
from headrace.simulator.shapes import Misfit, Path
from streams.models import ProviderName
from streams.tokens import count_text

# Lengths that the API documents for its models; also their largest `dimensions`.
_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536
_MAX_INPUTS = 2048
_MAX_TOKENS_PER_INPUT = 8192
_MAX_TOKENS_PER_CALL = 300_000
_MILLION = Decimal(1_000_000)
_NANO_USD = Decimal("0.000000001")
_WORD = re.compile(r"\w+")


def _input(value: Any, path: Path) -> None:
    shapes.either(
        "a string or an array",
        str=shapes.text(empty=False),
        list=shapes.array(low=1, high=_MAX_INPUTS),
    )(value, path)
    if isinstance(value, str):
        return
    item = _ITEMS.get(type(value[0]), shapes.text())
    shapes.array(item)(value, path)


_token = shapes.integer(0, 250_000)
_ITEMS = {str: shapes.text(empty=False), int: _token, list: shapes.array(_token, low=1)}
_check = shapes.record(
    {
        "model": shapes.text(),
        "input": _input,
        "dimensions": shapes.integer(1),
        "encoding_format": shapes.choice("float", "base64"),
        "user": shapes.text(),
    },
    required=("input",),
)


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """A validated embeddings call."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int
    packed: bool
    tokens: int

    @property
    def prompt(self) -> str:
        """The texts, for behaviour rules."""
        return "\n".join(text for text in self.inputs if isinstance(text, str))


class Embeddings(Endpoint):
    """`POST …/embeddings` of the OpenAI API."""

    async def serve(self, call: Call) -> None:
        """Serve one embeddings call."""
        order = read_order(await call.json_body(), self.provider.embedding_prices)
        call.admit(order.model, order.tokens)
        director = self.provider.director
        price = self.provider.embedding_prices[order.model]
        raw = director.raw_answer(ProviderName.OPENAI, order.model, order.prompt)
        if raw is not None:
            tokens = raw.bill.input_tokens if raw.bill else 0
            await play(call, raw, _bill(call, order, tokens), _usd(tokens, price))
            return
        fault = director.fault(ProviderName.OPENAI, order.model, order.prompt)
        if fault is not None:
            refusal = call.refusal_of(fault)
            if refusal is not None:
                raise refusal
            if fault.kind is FaultKind.HANG:
                await call.hang()
                return
        body = _body(order, self.provider.seed)
        usd, bill = _usd(order.tokens, price), _bill(call, order, order.tokens)

        def book(output_tokens: int, status: BilledAs) -> None:
            call.bill(bill, output_tokens, usd, status)

        await call.answer_whole(body, director.pace(fault), fault, 0, book)


def _usd(tokens: int, price: Decimal) -> Decimal:
    return (tokens * price / _MILLION).quantize(_NANO_USD)


def _bill(call: Call, order: _Order, tokens: int) -> Bill:
    return Bill(
        call_id="embd_" + secrets.token_hex(14),
        provider=ProviderName.OPENAI,
        model=order.model,
        input_tokens=tokens,
        cached_tokens=0,
        stream=False,
        client_request_id=call.client_request_id,
    )


def read_order(body: Any, prices: Mapping[str, Decimal]) -> _Order:
    """Turn a decoded body into an order.

    Raises:
        Misfit: If a field is not as documented.
        Refusal: If the model is unknown or the input too long.
    """
    model = model_name(body)
    if model not in prices:
        raise unknown_model(model)
    _check(body, ())
    largest = _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
    dimensions = body.get("dimensions") or largest
    if dimensions > largest:
        raise Misfit(("dimensions",), "above", expected=str(largest), got=str(dimensions), whole=True)
    inputs = _inputs(body["input"])
    return _Order(
        model=model,
        inputs=inputs,
        dimensions=dimensions,
        packed=body.get("encoding_format") == "base64",
        tokens=_count(inputs),
    )


def _inputs(given: Any) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(given, str):
        return (given,)
    if isinstance(given[0], int):
        return (tuple(given),)
    return tuple(entry if isinstance(entry, str) else tuple(entry) for entry in given)


def _count(inputs: Sequence[str | tuple[int, ...]]) -> int:
    counts = [count_text(entry) if isinstance(entry, str) else len(entry) for entry in inputs]
    if max(counts) > _MAX_TOKENS_PER_INPUT:
        raise Refusal(
            400,
            f"This model's maximum context length is {_MAX_TOKENS_PER_INPUT} tokens, however you requested "
            f"{max(counts)} tokens. Please reduce your prompt.",
            param="input",
            code="context_length_exceeded",
        )
    if sum(counts) > _MAX_TOKENS_PER_CALL:
        raise Refusal(
            400,
            f"Requested {sum(counts)} tokens, max {_MAX_TOKENS_PER_CALL} tokens per request",
            kind="max_tokens_per_request",
            param="input",
            code="max_tokens_per_request",
        )
    return sum(counts)


def _body(order: _Order, seed: int) -> bytes:
    data = []
    for index, entry in enumerate(order.inputs):
        vector = embed(entry, order.dimensions, seed)
        shown: Any = base64.b64encode(vector.tobytes()).decode() if order.packed else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": order.tokens, "total_tokens": order.tokens}
    return encode({"object": "list", "data": data, "model": order.model, "usage": usage})


def embed(text: str | tuple[int, ...], dimensions: int, seed: int) -> NDArray[np.float32]:
    """Return a unit vector: the sum of one random direction a word, drawn from the seed and the word."""
    words = _WORD.findall(text.lower()) if isinstance(text, str) else [str(token) for token in text]
    total = np.zeros(dimensions, dtype=np.float32)
    for word in words or [str(text)]:
        total += _direction(word, dimensions, seed)
    return total / np.float32(np.linalg.norm(total))


@lru_cache(maxsize=4_096)
def _direction(word: str, dimensions: int, seed: int) -> NDArray[np.float32]:
    digest = hashlib.blake2b(word.encode(), key=str(seed).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest)).standard_normal(dimensions, dtype=np.float32)
