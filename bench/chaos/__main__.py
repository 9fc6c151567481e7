"""`python -m bench.chaos`: the long form of the chaos suite. Exit status 0 only if everything balances.

.venv/bin/python -m bench.chaos --minutes 25 --rate 20 --seed 7 --report chaos.json
"""

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
from pathlib import Path

from bench.chaos.report import as_json, as_text, slow_recoveries
from bench.chaos.run import Options, Run
from bench.chaos.schedule import long_plan, short_plan
from bench.chaos.system import System

#: How long the load of the short form lasts at least; its faults take about as long.
_SHORT_S = 80.0


def main() -> int:
    """Run the suite in a fresh folder."""
    arguments = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is away is told line by line
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    duration_s = _SHORT_S if arguments.short else arguments.minutes * 60
    plan = (
        short_plan(arguments.seed, workers=arguments.workers)
        if arguments.short
        else long_plan(arguments.seed, duration_s=duration_s, workers=arguments.workers)
    )
    if arguments.plan:
        _say("\n".join(map(str, plan)))
        return 0
    options = Options(
        seed=arguments.seed,
        duration_s=duration_s,
        rate=arguments.rate,
        target=arguments.in_flight,
        latency_s=(arguments.latency * 0.6, arguments.latency * 1.4),
        workers=arguments.workers,
        stock_rate=arguments.stock_rate,
        busy=0 if arguments.short else arguments.in_flight,
    )
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="headrace-chaos-"))
    system = System(folder, workers=arguments.workers)
    _say(f"the plan (seed {arguments.seed}):\n" + "\n".join(map(str, plan)) + f"\nlogs are kept in {folder}")
    try:
        system.start()
        report = asyncio.run(Run(system, options, plan, say=_say).run(" ".join(sys.argv), folder))
    finally:
        system.stop()
    _say(as_text(report))
    if arguments.report:
        arguments.report.write_bytes(as_json(report))
    slow = slow_recoveries(report.recoveries)
    for each in slow:
        _say(f"SLOW: {each.fault}: {each.seconds}")
    return 0 if report.balanced and not slow else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=25.0, help="of load")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2, help="worker processes of Headrace")
    parser.add_argument(
        "--in-flight", type=int, default=220, help="requests in flight that the load keeps up"
    )
    parser.add_argument(
        "--latency", type=float, default=13.0, help="of a provider's call in seconds, on average"
    )
    parser.add_argument(
        "--stock-rate", type=float, default=5.0, help="messages a second for stock Faust; 0: none"
    )
    parser.add_argument("--short", action="store_true", help="the plan of the short form")
    parser.add_argument("--plan", action="store_true", help="only print the plan")
    parser.add_argument("--report", type=Path, help="where to write the report as JSON")
    parser.add_argument("--folder", help="where data and logs go; a fresh temporary folder by default")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
