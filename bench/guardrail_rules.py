"""Recall, over-blocking and cost of the guardrail's rules on labelled data.

Usage: python bench/guardrail_rules.py DATA_DIR

DATA_DIR holds `injection/*.jsonl` (text, label 1 = attack) and `pii/*.jsonl` (text, spans). For each
injection file: recall, false positives, microseconds; then how many of the attacks caught in plain form
are still caught in each disguise; for each PII file: exact-span precision, recall and F1 by type.
"""

import base64
import codecs
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from agents.checks import pii
from agents.checks.injection import scanner

CYRILLIC = str.maketrans("aeopcxyiAEOPCTHKMB", "аеорсхуіАЕОРСТНКМВ")
LEET = str.maketrans("aeiost", "431057")
DISGUISES: dict[str, Callable[[str], str]] = {
    "homoglyphs": lambda text: text.translate(CYRILLIC),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "zero width": "\u200b".join,
    "accents": lambda text: "".join(c + "\u0301" if c.isalpha() else c for c in text),
    "leet": lambda text: text.translate(LEET),
    "spaced": lambda text: "  ".join(" ".join(word) for word in text.split()),
    "spaced, no gaps": lambda text: " ".join(text.replace(" ", "")),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "url": quote,
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "reversed": lambda text: text[::-1],
}
PII_TYPES = {
    "EMAIL_ADDRESS": "email",
    "CREDIT_CARD": "credit_card",
    "US_SSN": "ssn",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "PHONE_NUMBER": "phone",
}


def main(data: Path) -> None:
    scanner.find_injection("")  # compiles the rules
    caught: list[str] = []
    for file in sorted((data / "injection").glob("*.jsonl")):
        caught += report_injection(file)
    report_disguises(caught)
    for file in sorted((data / "pii").glob("*.jsonl")):
        report_pii(file)


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n") if line]


def report_injection(file: Path) -> list[str]:
    seen, blocked, took_us, caught = Counter[int](), Counter[int](), list[float](), list[str]()
    for row in rows_of(file):
        start = time.perf_counter()
        found = scanner.find_injection(row["text"])
        took_us.append((time.perf_counter() - start) * 1e6)
        seen[row["label"]] += 1
        blocked[row["label"]] += found is not None
        if row["label"] and found is not None:
            caught.append(row["text"])
    shares = {
        label: f"{blocked[label]}/{count} = {blocked[label] / count:.1%}" for label, count in seen.items()
    }
    print(
        f"{file.stem:26} recall {shares.get(1, '-'):18} blocked benign {shares.get(0, '-'):16} "
        f"p50 {median(took_us):6.0f} µs  p99 {sorted(took_us)[int(len(took_us) * 0.99)]:6.0f} µs"
    )
    return caught


def report_disguises(caught: list[str]) -> None:
    """Say how many of the attacks that are caught as they are written are still caught disguised."""
    print(f"\n{len(caught)} attacks caught in plain form, disguised:")
    for name, disguise in DISGUISES.items():
        still = sum(scanner.find_injection(disguise(text)) is not None for text in caught)
        print(f"  {name:16} {still / max(1, len(caught)):6.1%}")


def report_pii(file: Path) -> None:
    right, wrong, missed, took_us = Counter[str](), Counter[str](), Counter[str](), list[float]()
    for row in rows_of(file):
        gold = {(PII_TYPES[s["type"]], s["start"], s["end"]) for s in row["spans"] if s["type"] in PII_TYPES}
        start = time.perf_counter()
        spans = pii.find(row["text"])
        took_us.append((time.perf_counter() - start) * 1e6)
        found = {(str(span.type), span.start, span.end) for span in spans}
        right.update(kind for kind, *_ in gold & found)
        wrong.update(kind for kind, *_ in found - gold)
        missed.update(kind for kind, *_ in gold - found)
    print(f"\n{file.stem}: exact spans, p50 {median(took_us):.0f} µs")
    for kind in PII_TYPES.values():
        f1 = 2 * right[kind] / max(1, 2 * right[kind] + wrong[kind] + missed[kind])
        print(f"  {kind:12} right {right[kind]:4} wrong {wrong[kind]:3} missed {missed[kind]:3}  F1 {f1:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
