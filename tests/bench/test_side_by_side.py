"""The comparison of gateways: what it asks, how it counts, how it compares."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.side_by_side.contenders import Contender
from bench.side_by_side.load import Outcome, Quantiles
from bench.side_by_side.measuring import Measurement, Simulator, measure
from bench.side_by_side.process_tree import roles_of, used_by_role
from bench.side_by_side.questions import new_questions, text_of_bytes
from bench.side_by_side.report import FIGURES, head_of_line, ratios, spread
from bench.side_by_side.scenarios import NAMES, Scenario, chosen

ROOT = Path(__file__).parents[2]


def test_questions_are_new_and_the_same_for_the_same_seed() -> None:
    """A question that came before would be a cache hit, and a run could not be repeated."""
    drawn = list(itertools.islice(new_questions(7), 5000))
    assert len(set(drawn)) == 5000
    assert drawn == list(itertools.islice(new_questions(7), 5000))
    assert set(drawn).isdisjoint(itertools.islice(new_questions(8), 100))


def test_a_long_prompt_has_the_bytes_asked_for() -> None:
    """And begins with a question."""
    text = text_of_bytes(100_000, 7)
    assert len(text.encode()) == pytest.approx(100_000, rel=0.01)
    assert "\nNotes:" in text[:300]


def test_a_trace_is_replayed_at_its_pace(tmp_path: Path) -> None:
    """Requests keep their distances, and those after the end are left out."""
    trace = tmp_path / "trace.csv"
    times = ("15:46.6805900", "15:50.6805900", "15:56.6805900", "17:56.6805900")
    rows = [f"2023-11-16 18:{time},{number + 1},{number}" for number, time in enumerate(times)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    (scenario,) = chosen(["replay"], scale=1, trace=trace, trace_s=5, speed=2)
    arrivals = scenario.plan["trace"]
    assert [each.at_s for each in arrivals] == [0, 2, 5]
    assert [(each.input_tokens, each.output_tokens) for each in arrivals] == [(1, 1), (2, 1), (3, 2)]


def test_every_scenario_can_be_chosen(tmp_path: Path) -> None:
    """Of the names that the help lists; `replay` only with a trace."""
    names = [name for name in NAMES if name != "replay"]
    assert [each.name for each in chosen(names, scale=0.1, trace=tmp_path, trace_s=1, speed=1)] == names
    with pytest.raises(FileNotFoundError):
        chosen(["replay"], scale=1, trace=tmp_path / "none", trace_s=1, speed=1)


def test_cpu_time_is_counted_by_role() -> None:
    """What began between the two looks counts from 0, what is gone counts no more."""
    before = {("worker", 1): 1.0, ("worker", 2): 5.0, ("kafka", 3): 2.0}
    after = {("worker", 1): 1.5, ("worker", 4): 0.25, ("kafka", 3): 3.0}
    assert used_by_role(before, after) == {"worker": 0.75, "kafka": 1.0}


def test_a_process_has_the_role_of_the_nearest_above_it() -> None:
    """So that what a part starts is counted with it."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = psutil.Process(parent.pid).children()
        found = roles_of(os.getpid(), {parent.pid: "part"}, rest="rest")
        parent.communicate(b"\n")
    assert (found[os.getpid()], found[parent.pid], found[child.pid]) == ("rest", "part", "part")


def measured(
    contender: str, number: int, p99: float, *, scenario: str = "small", cpu_s: float = 1.0
) -> Measurement:
    """A measurement of 100 answers in 10 seconds."""
    small = Quantiles(count=100, p50=p99 / 2, p95=p99, p99=p99, most=p99)
    nothing = Quantiles.of([])
    outcome = Outcome(
        elapsed_s=10,
        answered=100,
        failed={},
        latency={"small": small},
        first_text=nothing,
        gap=nothing,
        pieces=0,
    )
    return Measurement(
        scenario=scenario,
        contender=contender,
        round=number,
        outcome=outcome,
        cpu_s={contender: cpu_s},
        idle={contender: 0.05},
        window_s=12,
        provider_calls=70,
        resident_mib=1,
        load_average=1,
    )


def test_ratios_are_taken_round_by_round() -> None:
    """A slow round is slow for both; a round that one lacks is left out."""
    found = [
        measured("headrace", 0, 40.0),
        measured("litellm", 0, 20.0),
        measured("headrace", 1, 120.0),
        measured("litellm", 1, 40.0),
        measured("headrace", 2, 900.0),
    ]
    assert ratios(found, "litellm", FIGURES["p99 ms"]) == [2.0, 3.0]
    assert spread([2.0, 3.0, 2.5]) == "2.50 (2.00–3.00)"


def test_figures_of_a_measurement() -> None:
    """CPU time a request with and without what is taken while nothing is asked."""
    each = measured("headrace", 0, 40.0, cpu_s=1.6)
    assert each.rate == 10
    assert each.cpu_ms == pytest.approx(16)
    assert each.net_cpu_ms == pytest.approx(10)
    assert FIGURES["requests/s a core"](each) == pytest.approx(62.5)
    assert FIGURES["calls a request"](each) == pytest.approx(0.7)


def test_head_of_line_compares_the_same_round() -> None:
    """Small prompts beside large ones against the same users without."""
    found = [measured("litellm", 0, 20.0), measured("litellm", 0, 60.0, scenario="large")]
    assert "3.00 (p50), 3.00 (p99)" in head_of_line(found)
    assert head_of_line(found[:1]) == ""


@pytest.fixture
def simulator() -> Iterator[str]:
    """The address of a provider simulator whose operator's password is `secret`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.simulator"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"HEADRACE_SIMULATOR_CONTROL_PASSWORD": "secret"},
    )
    with process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["simulator"])
        process.terminate()


@pytest.mark.integration
@pytest.mark.parametrize("stream", [False, True])
def test_the_load_generator_sends_what_the_plan_says(simulator: str, stream: bool) -> None:
    """Each request once, and of a stream each piece, on the provider itself."""
    scenario = Scenario(name="some", title="", plan={"users": 3, "requests": 12, "stream": stream})
    with Simulator(simulator.replace("://", "://control:secret@")) as operator:
        operator.behave({"answers": [{"text": "The water turns our mill"}]})
        found = measure(Contender(simulator), scenario, operator, number=0, seed=1)
    assert found.outcome.failed == {}
    assert found.outcome.answered == found.provider_calls == found.outcome.latency["small"].count == 12
    assert found.outcome.pieces == (5 if stream else 0)
    assert found.outcome.gap.count == (48 if stream else 0)


@pytest.mark.integration
def test_refused_requests_are_failures(simulator: str) -> None:
    """A gateway that refuses quickly is not a fast one."""
    scenario = Scenario(name="some", title="", plan={"users": 2, "requests": 4})
    with Simulator(simulator.replace("://", "://control:secret@")) as operator:
        operator.behave({"faults": [{"kind": "server_error", "rate": 1.0}]})
        found = measure(Contender(simulator), scenario, operator, number=0, seed=1)
    assert found.outcome.answered == 0
    assert sum(found.outcome.failed.values()) == 4
