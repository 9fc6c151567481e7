"""Which cosine to serve at: recall, precision and wrongly served negatives by threshold, fp32 and int8.

    python bench/embedding_thresholds.py DATA_DIR [--qqp 2000] [--seed 7]

DATA_DIR holds `qqp_20k.jsonl` and `fow_cache_pairs.jsonl` (fields a, b, label; 1 = the same question); a
file that is absent is skipped and said so. For each fp32 threshold the last column is the int8 threshold
that serves as many pairs: the one to configure. Latency, load time and memory of the embedder come first.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from agents.embeddings.graph import Precision, build_model
from agents.embeddings.minilm import MiniLmEmbedder, Vectors
from agents.embeddings.model_files import WeightFiles

THRESHOLDS = (0.85, 0.88, 0.90, 0.92, 0.95)
LENGTHS = (16, 32, 64, 128)
MAX_TOKENS = 256
REPEATS = 200
FILES = {"QQP": "qqp_20k.jsonl", "fow": "fow_cache_pairs.jsonl"}


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Labelled pairs of questions."""

    first: list[str]
    second: list[str]
    same: npt.NDArray[np.bool_]


def read_pairs(path: Path, limit: int, seed: int) -> Pairs:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if len(rows) > limit:
        rows = random.Random(seed).sample(rows, limit)
    return Pairs(
        first=[row["a"] for row in rows],
        second=[row["b"] for row in rows],
        same=np.array([row["label"] == 1 for row in rows]),
    )


class Fp32MiniLm:
    """The unquantised graph, for comparison only: it blocks."""

    name = "all-MiniLM-L6-v2-fp32"
    dimensions = 384

    def __init__(self) -> None:
        files = WeightFiles.find()
        model = build_model(files.load(), files.shape(), Precision.FP32).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._embed_one(text) for text in texts])

    def _embed_one(self, text: str) -> Vectors:
        ids = np.array([self._tokenizer.encode(text).ids])
        vector: Vectors = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][
            0
        ]
        return vector


async def cosines(embedder: "MiniLmEmbedder | Fp32MiniLm", pairs: Pairs) -> npt.NDArray[np.float64]:
    first, second = await embedder.embed(pairs.first), await embedder.embed(pairs.second)
    scores: npt.NDArray[np.float64] = np.einsum("ij,ij->i", first.astype(np.float64), second)
    return scores


def row(scores: npt.NDArray[np.float64], same: npt.NDArray[np.bool_], threshold: float) -> str:
    """Recall / precision / share of negatives served, in percent."""
    served = scores >= threshold
    recall, negatives = served[same].mean(), served[~same].mean()
    precision = same[served].mean() if served.any() else float("nan")
    return f"{100 * recall:5.1f} /{100 * precision:5.1f} /{100 * negatives:5.1f}"


def equal_threshold(
    exact: npt.NDArray[np.float64], quantised: npt.NDArray[np.float64], threshold: float
) -> float:
    """Return the threshold at which the second scores serve as many pairs as the first."""
    return float(np.quantile(quantised, (exact < threshold).mean()))


def report(name: str, pairs: Pairs, exact: npt.NDArray[np.float64], int8: npt.NDArray[np.float64]) -> None:
    shift = int8 - exact
    near = exact >= THRESHOLDS[0]
    print(
        f"\n{name}: {len(exact)} pairs, {pairs.same.sum()} the same; recall / precision / negatives served, %"
    )
    print(
        f"int8 minus fp32: {shift.mean():+.4f} ± {shift.std():.4f}, at most {np.abs(shift).max():.4f};"
        f" above {THRESHOLDS[0]}: {shift[near].mean():+.4f} ± {shift[near].std():.4f}"
    )
    print("| t | fp32 | int8 | int8 threshold that serves as many |\n|---|---|---|---|")
    for threshold in THRESHOLDS:
        equal = equal_threshold(exact, int8, threshold)
        print(
            f"| {threshold:.2f} | {row(exact, pairs.same, threshold)} | {row(int8, pairs.same, threshold)}"
            f" | {equal:.4f} |"
        )


async def measure_latency(embedder: MiniLmEmbedder) -> None:
    print("| tokens | p50 ms | p99 ms |\n|---|---|---|")
    for length in LENGTHS:
        text = "token " * (length - 2)  # [CLS] and [SEP] are the other two
        times: list[float] = []
        for _ in range(REPEATS):
            embedder._vector.cache_clear()  # type: ignore[attr-defined]  # noqa: SLF001  # texts are remembered
            start = time.perf_counter()
            await embedder.embed([text])
            times.append(1000 * (time.perf_counter() - start))
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"| {length} | {statistics.median(times):.2f} | {p99:.2f} |")


def load_cost() -> str:
    """Load the built model in a fresh process, which this one no longer is."""
    program = (
        "import time; start = time.perf_counter()\n"
        "from agents.embeddings.minilm import MiniLmEmbedder\n"
        "embedder = MiniLmEmbedder.load(); seconds = time.perf_counter() - start\n"
        "import asyncio, psutil; asyncio.run(embedder.embed(['token ' * 254])); embedder.close()\n"
        "print(f'{seconds:.2f} s with imports, {psutil.Process().memory_info().rss / 1e6:.0f} MB of RSS')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Cosine thresholds of the local embedding, fp32 and int8.")
    parser.add_argument("data_dir", type=Path, help="folder of the labelled pairs (JSON lines)")
    parser.add_argument("--qqp", type=int, default=2000, help="how many QQP pairs to sample (default 2000)")
    parser.add_argument("--seed", type=int, default=7, help="seed of that sample (default 7)")
    arguments = parser.parse_args()
    embedder = MiniLmEmbedder.load()
    print(f"{embedder.name}: loaded in {load_cost()}")
    await measure_latency(embedder)
    exact = Fp32MiniLm()
    for name, file in FILES.items():
        path = arguments.data_dir / file
        if not path.is_file():
            print(f"\n{name}: skipped, {path} is absent")
            continue
        pairs = read_pairs(path, arguments.qqp, arguments.seed)
        report(name, pairs, await cosines(exact, pairs), await cosines(embedder, pairs))
    embedder.close()


if __name__ == "__main__":
    asyncio.run(main())
