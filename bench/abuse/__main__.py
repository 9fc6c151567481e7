"""`python -m bench.abuse`: the long form of the abuse suite. Exit status 0 only if the system held.

.venv/bin/python -m bench.abuse --seed 11 --records 10000 --http 10000
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from bench.abuse.http import attack_http
from bench.abuse.setting import ENVIRON
from bench.abuse.topics import attack_topics
from bench.abuse.verdict import Verdict
from bench.chaos.system import System

#: Of every process, over the whole run.
_GROWTH_MIB = 384


def main() -> int:
    """Attack a fresh system."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.abuse",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--records", type=int, default=10_000, help="hostile records; 0: none")
    parser.add_argument("--http", type=int, default=10_000, help="hostile HTTP requests; 0: none")
    parser.add_argument(
        "--skip", default="", help="kinds of records to leave out, by their beginnings, separated by commas"
    )
    parser.add_argument("--folder", help="where data and logs go; a fresh temporary folder by default")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="headrace-abuse-"))
    print(f"seed {arguments.seed}; logs are kept in {folder}", flush=True)
    system = System(folder, workers=1, environ=ENVIRON)
    faults = 0
    try:
        system.start()
        if arguments.http:
            faults += _tell(
                attack_http(system.home, seed=arguments.seed, requests=arguments.http, growth_mib=_GROWTH_MIB)
            )
        if arguments.records:
            faults += _tell(
                attack_topics(
                    system.home,
                    seed=arguments.seed,
                    records=arguments.records,
                    growth_mib=_GROWTH_MIB,
                    skip=tuple(filter(None, arguments.skip.split(","))),
                    say=lambda text: print(text, flush=True),
                )
            )
    finally:
        system.stop()
    return 1 if faults else 0


def _tell(attack: Coroutine[Any, Any, Verdict]) -> int:
    """Run an attack, print its verdict, and return how many faults it has."""
    verdict = asyncio.run(attack)
    print(json.dumps(msgspec.to_builtins(verdict), indent=2, ensure_ascii=False), flush=True)
    return len(verdict.faults)


if __name__ == "__main__":
    sys.exit(main())
