"""Headrace beside LiteLLM's Python proxy and Portkey's Node gateway, on one simulator, by turns.

Starts a Headrace of its own (`headrace up` in a temporary folder, one worker), the others from a cache
folder (installed there the first time), and asks all of them the same in each scenario, A B C, A B C. Only
one of them runs while it is measured; the others are stopped by SIGSTOP. CPU time is that of a contender's
processes, from /proc, without simulator and load generator. Quote the ratios: they are taken round by round.

    .venv/bin/python -m bench.side_by_side [--scenarios alone users-100] [--rounds 3]
        [--json FILE] [--plot FILE]
"""

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.chaos.system import System
from bench.side_by_side.contenders import Contender, HeadraceContender, others
from bench.side_by_side.measuring import KafkaFloor, LoadFailed, Measurement, Simulator, kafka_floor, measure
from bench.side_by_side.plot import svg
from bench.side_by_side.report import floor_table, head_of_line, tables
from bench.side_by_side.scenarios import NAMES, Scenario, chosen
from headrace.embedded.errors import EmbeddedError

_TRACE = Path(__file__).parents[3] / "shared" / "data" / "traffic" / "azure_llm_inference_conv.csv"


def main() -> int:
    """Run the comparison; 1 where a request failed."""
    options = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = list(options.scenarios)
    if "replay" in names and not options.trace.exists():
        print(f"without replay: there is no {options.trace}", file=sys.stderr)
        names.remove("replay")
    scenarios = chosen(
        names, scale=options.scale, trace=options.trace, trace_s=options.trace_s, speed=options.speed
    )
    results = Results()
    try:
        with tempfile.TemporaryDirectory(prefix="headrace-side-by-side-") as folder:
            _run(Path(folder), scenarios, options, results)
    except KeyboardInterrupt:
        print("interrupted: these are the figures so far", file=sys.stderr)
    print(_heading(results.versions, options))
    print(tables(scenarios, results.found))
    print(head_of_line(results.found))
    if results.floors:
        print(floor_table(results.floors, results.found))
    if options.json:
        options.json.write_bytes(_as_json(scenarios, results))
    if options.plot:
        options.plot.write_text(svg(results.found))
    return 1 if results.missing or any(each.outcome.failed for each in results.found) else 0


@dataclass
class Results:
    """What has been measured so far; `missing`: what could not be."""

    versions: dict[str, str] = field(default_factory=dict)
    floors: list[KafkaFloor] = field(default_factory=list)
    found: list[Measurement] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def _run(folder: Path, scenarios: Sequence[Scenario], options: argparse.Namespace, results: Results) -> None:
    """Start the contenders, measure, and end them, whatever happens."""
    system = System(folder, workers=options.workers)
    with ExitStack() as stack:
        stack.callback(system.stop)
        system.start()
        ours = HeadraceContender(system)
        stack.callback(ours.resume)
        rivals = others(system.simulator, options.contenders, folder)
        for each in rivals:
            stack.callback(each.stop)
        results.versions |= {each.name: each.version for each in (ours, *rivals)}
        ours.pause()
        for _ in range(options.kafka_rounds):
            results.floors.append(kafka_floor(ours, requests=options.kafka_requests))
        simulator = stack.enter_context(Simulator(system.simulator_control))
        _compare([ours, *rivals], scenarios, simulator, options, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.side_by_side",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenarios", nargs="+", default=NAMES, choices=NAMES, metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument(
        "--contenders",
        nargs="*",
        default=["provider", "litellm", "portkey"],
        help="beside Headrace: provider (the simulator itself), litellm, portkey",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="worker processes of Headrace")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many requests as usual")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--trace", type=Path, default=_TRACE, help="a trace of Azure's, for `replay`")
    parser.add_argument("--trace-s", type=float, default=40.0, help="seconds of `replay`")
    parser.add_argument("--speed", type=float, default=2.0, help="times the trace's pace")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--plot", type=Path, help="write an SVG there")
    parser.add_argument("--kafka-rounds", type=int, default=3, help="of the traversals of Kafka alone")
    parser.add_argument("--kafka-requests", type=int, default=300, help="of a round, one at a time")
    return parser.parse_args()


def _compare(
    contenders: Sequence[Contender],
    scenarios: Sequence[Scenario],
    simulator: Simulator,
    options: argparse.Namespace,
    results: Results,
) -> None:
    """Measure every contender in every scenario, round by round."""
    for place, scenario in enumerate(scenarios):
        simulator.behave(scenario.behaviour)
        able = [each for each in contenders if not (each.no_streams and scenario.plan.get("stream"))]
        for each in (each for each in contenders if each not in able):
            print(f"{scenario.name} without {each.name}: {each.no_streams}", file=sys.stderr)
        for number in range(options.rounds):
            seed = options.seed + 1_000_000 * place + 10_000 * number
            for contender in able:
                try:
                    contender.start(cached=scenario.cached)
                    contender.resume()
                    measured = measure(contender, scenario, simulator, number=number, seed=seed)
                except (LoadFailed, EmbeddedError) as fault:
                    results.missing.append(f"{scenario.name}, round {number}, {contender.name}: {fault}")
                    print(results.missing[-1], file=sys.stderr)
                    continue
                finally:
                    contender.pause()
                results.found.append(measured)
                _tell(measured)


def _tell(each: Measurement) -> None:
    small = each.outcome.latency.get("small")
    print(
        f"{time.strftime('%H:%M:%S')} {each.scenario:10} round {each.round} {each.contender:9} "
        f"{each.rate:7.1f}/s p50 {small.p50 if small else 0:8.1f} ms, CPU {each.cpu_ms:6.2f} ms, "
        f"load {each.load_average:.1f}, failed {dict(each.outcome.failed)}",
        file=sys.stderr,
        flush=True,
    )


def _heading(versions: dict[str, str], options: argparse.Namespace) -> str:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {named}; "
        f"{options.rounds} rounds, seed {options.seed}, {options.workers} worker process(es) of Headrace. "
        "Median (least–most)."
    )


def _as_json(scenarios: Sequence[Scenario], results: Results) -> bytes:
    """Return everything that was measured."""
    content = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": results.versions,
        "scenarios": {each.name: each.title for each in scenarios},
        "measurements": results.found,
        "kafka_alone": results.floors,
        "missing": results.missing,
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1)


if __name__ == "__main__":
    sys.exit(main())
