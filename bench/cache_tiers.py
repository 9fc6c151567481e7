"""What the static vectors of the cache cost and lose, against MiniLM for every question.

    python -m bench.cache_tiers DATA_DIR [--first 0] [--texts 3000]

DATA_DIR holds files of questions (JSON lines with `text`, or with `a` and `b`); one that is absent is skipped
and said so. Each file is replayed as a stream into one scope: a question that hits is not stored. The hits to
find are those of an index of MiniLM's own vectors (three candidates, veto, cosine from 0.92). Per static
threshold: how many of them are found, and which share of the questions needs the transformer. Questions that
depend on the time are left out, and repeated ones: the exact match finds them.

The static vectors were fitted on the first 7,000 lines of banking77, so these are never read. `--first` says
how many texts to pass over, to choose on some and report on others.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agents.cache.similar import STATIC_THRESHOLD
from agents.cache.veto import depends_on_time, veto
from agents.embeddings.minilm import MiniLmEmbedder, Vectors

FILES = {
    "QQP": "qqp_20k.jsonl",
    "banking77": "banking77_train.jsonl",
    "clinc150": "clinc150.jsonl",
    "fow": "fow_cache_pairs.jsonl",
    "MRPC": "mrpc_train.jsonl",
}
FITTED_LINES = {"banking77_train.jsonl": 7000}
THRESHOLD = 0.92
ONE_TIER_CANDIDATES = 3
CANDIDATES = 8
STATIC_THRESHOLDS = sorted({*np.arange(0.50, 0.92, 0.05).round(2).tolist(), STATIC_THRESHOLD})


@dataclass(kw_only=True)
class Tally:
    """What one static threshold found in a stream."""

    found: int = 0
    compared: int = 0


@dataclass(kw_only=True)
class Stream:
    """The outcome of one stream: `hits` of the one-tier index, and a tally a static threshold."""

    questions: int
    hits: int = 0
    tallies: dict[float, Tally] = field(default_factory=lambda: {each: Tally() for each in STATIC_THRESHOLDS})


def read_texts(path: Path, first: int, most: int) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()[FITTED_LINES.get(path.name, 0) :]
    rows = [json.loads(line) for line in lines]
    texts = [" ".join(row[name].split()) for row in rows for name in ("text", "a", "b") if name in row]
    return [text for text in dict.fromkeys(texts[first:]) if not depends_on_time(text)][:most]


def nearest(cosines: Vectors, most: int) -> list[int]:
    return np.argsort(-cosines)[:most].tolist()


def replay(texts: list[str], vectors: Vectors, static: Vectors) -> Stream:
    """Ask the texts one after the other; both indexes hold what the one-tier index has missed."""
    stream, stored = Stream(questions=len(texts)), list[int]()
    for asked, text in enumerate(texts):
        kept = np.array(stored, dtype=int)
        cosines, cheap = vectors[kept] @ vectors[asked], static[kept] @ static[asked]
        hit = any(
            cosines[place] >= THRESHOLD and veto(text, texts[stored[place]]) is None
            for place in nearest(cosines, ONE_TIER_CANDIDATES)
        )
        near = [place for place in nearest(cheap, CANDIDATES) if cheap[place] >= STATIC_THRESHOLDS[0]]
        allowed = [place for place in near if veto(text, texts[stored[place]]) is None]
        for least, tally in stream.tallies.items():
            compared = [place for place in allowed if cheap[place] >= least]
            tally.compared += bool(compared)
            tally.found += hit and any(cosines[place] >= THRESHOLD for place in compared)
        stream.hits += hit
        if not hit:
            stored.append(asked)
    return stream


def report(name: str, stream: Stream) -> None:
    print(
        f"\n{name}: {stream.questions} questions, {stream.hits} hits of the one-tier index"
        f" ({100 * stream.hits / stream.questions:.1f} %)"
    )
    print("| static cosine from | hits found, % | questions that need the transformer, % |\n|---|---|---|")
    for least, tally in stream.tallies.items():
        print(
            f"| {least:.2f} | {100 * tally.found / max(1, stream.hits):.1f}"
            f" | {100 * tally.compared / stream.questions:.1f} |"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description="Hits and transformer runs of the cache's two tiers.")
    parser.add_argument("data_dir", type=Path, help="folder of the questions (JSON lines)")
    parser.add_argument("--first", type=int, default=0, help="texts of each file to pass over (default 0)")
    parser.add_argument("--texts", type=int, default=3000, help="most texts a file (default 3000)")
    arguments = parser.parse_args()
    embedder = MiniLmEmbedder.load()
    for name, file in FILES.items():
        path = arguments.data_dir / file
        if not path.is_file():
            print(f"\n{name}: skipped, {path} is absent")
            continue
        texts = read_texts(path, arguments.first, arguments.texts)
        texts = [text for text in texts if embedder.static_vector(text) is not None]
        if not texts:
            print(f"\n{name}: skipped, it has no more than {arguments.first} texts")
            continue
        start = time.process_time()
        static = np.array([embedder.static_vector(text) for text in texts])
        static_us = 1e6 * (time.process_time() - start) / max(1, len(texts))
        start = time.process_time()
        vectors = await embedder.embed(texts)
        transformer_us = 1e6 * (time.process_time() - start) / max(1, len(texts))
        report(name, replay(texts, vectors, static))
        print(f"CPU a text: static vector {static_us:.0f} µs, transformer {transformer_us:.0f} µs")
    embedder.close()


if __name__ == "__main__":
    asyncio.run(main())
