"""Fits `agents/embeddings/static_weights.npz`, so that static vectors have MiniLM's cosines.

    python scripts/fit_static_weights.py BANKING77.jsonl

The file has a `text` in each line; its first 7,000 are used (banking77 of PolyAI, CC BY 4.0), and 4,000
sentences of the docstrings of Python's standard library. It begins with smooth inverse frequencies (Arora et
al. 2017) and least squares, and goes on with Adam on the cosines of texts that are close to each other. Takes
some minutes. A change of the weights is a new version of the model, so that the cache begins anew.
"""

import ast
import asyncio
import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from agents.embeddings import static_table
from agents.embeddings.minilm import MiniLmEmbedder
from agents.embeddings.model_files import WeightFiles

Array = npt.NDArray[np.float32]

QUESTIONS, SENTENCES, MOST_TOKENS = 7000, 4000, 64
DIMENSIONS = 256
#: [CLS] and [SEP]
SPECIAL_TOKENS = [101, 102]
#: In the vocabulary, words begin here, the most frequent first; `_RARITY` is Arora's `a`.
FIRST_WORD, RARITY, RIDGE = 999, 1e-3, 0.3
STEPS, SEEDS_A_STEP, NEIGHBOURS, RATE, IMPORTANCE_RATE = 600, 64, 3, 1e-3, 1e-2
#: The weight of a pair falls by e for each sixth of cosine below 1: near pairs must be right.
SHARPNESS = 6


def docstring_sentences() -> Iterator[str]:
    """Yield the plain sentences of the standard library's docstrings."""
    for path in Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"):
        if {"site-packages", "test", "idlelib"} & set(path.parts):
            continue
        try:
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        except (SyntaxError, UnicodeDecodeError):  # lib2to3 tests itself on such files
            continue
        for node in nodes:
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for sentence in re.split(r"(?<=[.!?])\s+|\n\n", ast.get_docstring(node) or ""):
                    words = sentence.split()
                    if 4 <= len(words) <= 25 and sum(word.isalpha() for word in words) > 0.7 * len(words):
                        yield " ".join(words)


def token_ids(texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Return the token ids of each text, without [CLS] and [SEP]."""
    tokenizer = Tokenizer.from_file(str(WeightFiles.find().tokenizer))
    tokenizer.no_padding()
    return [np.array(tokenizer.encode(text).ids[1:-1]) for text in texts]


def sums(ids: Sequence[npt.NDArray[np.int64]], rows: Array) -> Array:
    """Return the sum of the rows of each text's tokens."""
    starts = np.cumsum([0, *(len(each) for each in ids[:-1])])
    return np.add.reduceat(rows[np.concatenate(ids)], starts, axis=0)


def unit(vectors: Array) -> Array:
    """Return the vectors with length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


class Adam:
    """Kingma and Ba 2015, for one parameter."""

    def __init__(self, parameter: Array, rate: float) -> None:
        self._parameter, self._rate, self._steps = parameter, rate, 0
        self._mean, self._square = np.zeros_like(parameter), np.zeros_like(parameter)

    def step(self, gradient: Array, share: float) -> None:
        """Change the parameter by `share` of the rate at most, in place."""
        self._steps += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.01 * (gradient**2 - self._square)
        mean, square = self._mean / (1 - 0.9**self._steps), self._square / (1 - 0.99**self._steps)
        self._parameter -= self._rate * share * mean / (np.sqrt(square) + 1e-8)


def first_guess(ids: Sequence[npt.NDArray[np.int64]], targets: Array, tokens: Array) -> tuple[Array, Array]:
    """Return a projection by ridge regression on `targets`, cut to their main directions, and importances."""
    rank = np.maximum(np.arange(len(tokens)) - FIRST_WORD, 0)
    frequency = 1 / (rank + 30)
    importance = np.log(RARITY / (RARITY + frequency / frequency.sum())).astype(np.float32)
    pooled = unit(sums(ids, tokens * np.exp(importance)[:, np.newaxis]))
    ridge = RIDGE * np.eye(tokens.shape[1], dtype=np.float32)
    projection = np.linalg.solve(pooled.T @ pooled + ridge, pooled.T @ targets)
    directions = np.linalg.svd(unit(pooled @ projection), full_matrices=False)[2][:DIMENSIONS]
    projection = projection @ directions.T
    return (0.05 * projection / projection.std()).astype(np.float32), importance


def neighbours(targets: Array) -> npt.NDArray[np.int64]:
    """Return the nearest texts of each text, without itself."""
    found = []
    for start in range(0, len(targets), 1000):
        cosines = targets[start : start + 1000] @ targets.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -1
        found.append(np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS])
    return np.concatenate(found)


def fit(ids: Sequence[npt.NDArray[np.int64]], targets: Array, tokens: Array) -> tuple[Array, Array]:
    """Return projection and importance, so that the cosines of sums of rows are those of `targets`."""
    projection, importance = first_guess(ids, targets, tokens)
    near, rng = neighbours(targets), np.random.default_rng(0)
    optimisers = Adam(projection, RATE), Adam(importance, IMPORTANCE_RATE)
    for step in range(1, STEPS + 1):
        seeds = rng.choice(len(ids), SEEDS_A_STEP, replace=False)
        batch = np.unique(np.concatenate([seeds, near[seeds].ravel()]))
        error, *gradients = _gradients(
            [ids[each] for each in batch], targets[batch], tokens, projection, importance
        )
        share = min(1.0, step / 30) * (1 - 0.9 * step / STEPS)
        for optimiser, gradient in zip(optimisers, gradients, strict=True):
            optimiser.step(gradient, share)
        if step % 100 == 0:
            print(f"step {step}: root mean square error {error**0.5:.4f}", flush=True)
    return projection, importance


def _gradients(
    ids: Sequence[npt.NDArray[np.int64]], targets: Array, tokens: Array, projection: Array, importance: Array
) -> tuple[float, Array, Array]:
    """Return the error and its gradients: the weighted mean square error of all cosines within a batch."""
    flat, owner = np.concatenate(ids), np.repeat(np.arange(len(ids)), [len(each) for each in ids])
    weighted = tokens[flat] * np.exp(importance[flat])[:, np.newaxis]
    pooled = np.add.reduceat(weighted, np.flatnonzero(np.diff(owner, prepend=-1)), axis=0)
    vectors = pooled @ projection
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    units = vectors / norms
    cosines, wanted = units @ units.T, targets @ targets.T
    weights = np.exp(SHARPNESS * (np.maximum(cosines, wanted) - 1))
    np.fill_diagonal(weights, 0)
    weights /= weights.sum()
    error = float((weights * (cosines - wanted) ** 2).sum())
    by_unit = 4 * (weights * (cosines - wanted)) @ units
    by_vector = (by_unit - (by_unit * units).sum(axis=1, keepdims=True) * units) / norms
    by_token = ((by_vector @ projection.T)[owner] * weighted).sum(axis=1)
    by_importance = np.bincount(flat, by_token, len(importance)).astype(np.float32)
    return error, pooled.T @ by_vector, by_importance


def main() -> None:
    """Embed the texts, fit, and write the weights."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()[:QUESTIONS]
    sentences = sorted(set(docstring_sentences()))
    texts = [json.loads(line)["text"] for line in lines] + random.Random(1).sample(sentences, SENTENCES)
    ids = token_ids(texts)
    used = [place for place, each in enumerate(ids) if 0 < len(each) <= MOST_TOKENS]
    embedder = MiniLmEmbedder.load()
    targets = asyncio.run(embedder.embed([texts[place] for place in used]))
    embedder.close()
    tokens = WeightFiles.find().load()["embeddings.word_embeddings.weight"]
    projection, importance = fit([ids[place] for place in used], targets, tokens)
    importance[SPECIAL_TOKENS] = -np.inf
    target = Path(static_table.__file__).with_name(static_table.WEIGHTS_FILE)
    np.savez(target, projection=projection.astype(np.float16), importance=importance.astype(np.float16))
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
