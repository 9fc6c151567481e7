"""Starts a worker: the one place that connects the rows of `streams.pipeline` with the code of the stages."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry

import agents.cache.stage
import agents.cost.stage
import agents.embedding_stage.stage
import agents.guardrail.stage
import agents.llm.stage
import agents.output.stage
from agents.runner.dead_letters import DeadLetters
from agents.runner.group_consumer import REBALANCE_TIMEOUT_S
from agents.runner.probes import StageMetrics, serve_probes
from agents.runner.record_retry import RecordRetryPolicy
from agents.runner.relay import Drain, Relay
from agents.runner.stage_app import StageApp
from agents.runner.stage_handler import StageHandler
from agents.runner.stage_runner import StageRunner
from agents.runner.watchdog import BrokerEndOffsets, WatchClock, Watchdog
from agents.runner.worker import run_apps
from agents.stage import Stage
from agents.webhooks.intake import webhook_intake
from agents.worker_ports import Loaded, WorkerPorts, open_ports
from streams import pipeline
from streams.errors import ConfigurationError
from streams.pipeline import ConsumerSpec, StageSpec
from streams.settings import Settings

#: Builds a stage; what has to be closed with the worker is pushed to the stack.
Builder: TypeAlias = Callable[[WorkerPorts, AsyncExitStack], Awaitable[Stage[Any]]]

#: The wiring: one line per stage.
BUILDERS: Mapping[StageSpec, Builder] = {
    pipeline.GUARDRAIL: agents.guardrail.stage.build,
    pipeline.EMBEDDINGS: agents.embedding_stage.stage.build,
    pipeline.CACHE: agents.cache.stage.build,
    pipeline.LLM: agents.llm.stage.build,
    pipeline.OUTPUT: agents.output.stage.build,
    pipeline.COST: agents.cost.stage.build,
}


async def run_worker(
    settings: Settings,
    consumers: Sequence[ConsumerSpec] = pipeline.WORKER_CONSUMERS,
    *,
    loaded: Loaded | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run consumers until SIGTERM or SIGINT.

    `on_ready` is called once every consumer has its partitions.

    Raises:
        ConfigurationError: settings that do not fit together, a port that is taken, or Redis refuses us.
        WorkerStalled: a consumer made no progress; the process should be started again.
    """
    check_timeouts(settings)
    clock = WatchClock()
    ends = BrokerEndOffsets(settings.kafka_bootstrap, timeout_s=settings.kafka_timeout_s)
    watchdog = Watchdog(clock, ask_ends=ends, stall_timeout_s=settings.stall_timeout_s)
    metrics = CollectorRegistry()
    metrics.register(StageMetrics(watchdog))
    async with AsyncExitStack() as resources:
        await resources.enter_async_context(
            serve_probes(watchdog, metrics, host=settings.worker_host, port=settings.worker_port)
        )
        ports = await resources.enter_async_context(open_ports(settings, loaded or Loaded(), metrics))
        apps = [await _app(spec, ports, resources, clock) for spec in consumers]
        await run_apps(
            apps,
            watchdog=watchdog,
            stall_timeout_s=settings.stall_timeout_s,
            drain_timeout_s=settings.drain_timeout_s,
            on_ready=on_ready,
        )


def check_timeouts(settings: Settings) -> None:
    """Check that a drain can end by itself before the broker evicts the member.

    What a stage has in hand is put aside after `retry_in_place_s`, and that send must fit into the drain.
    Only the LLM and embeddings stages may need longer, for an answer that is on its way: what they have not
    finished by then is delivered again, and its call booked as orphaned.

    Raises:
        ConfigurationError: which settings do not fit, and how they must.
    """
    needed_s = settings.retry_in_place_s + settings.kafka_timeout_s
    if not needed_s < settings.drain_timeout_s < REBALANCE_TIMEOUT_S:
        raise ConfigurationError(
            f"HEADRACE_DRAIN_TIMEOUT_S is {settings.drain_timeout_s:g}; it must be above "
            f"HEADRACE_RETRY_IN_PLACE_S + HEADRACE_KAFKA_TIMEOUT_S ({needed_s:g}) and below "
            f"{REBALANCE_TIMEOUT_S:g}"
        )
    if settings.stall_timeout_s <= needed_s:
        raise ConfigurationError(
            f"HEADRACE_STALL_TIMEOUT_S is {settings.stall_timeout_s:g}; it must be above "
            f"HEADRACE_RETRY_IN_PLACE_S + HEADRACE_KAFKA_TIMEOUT_S ({needed_s:g})"
        )


async def _app(
    spec: ConsumerSpec, ports: WorkerPorts, resources: AsyncExitStack, clock: WatchClock
) -> StageApp:
    settings = ports.settings
    if isinstance(spec, StageSpec):
        stage = await BUILDERS[spec](ports, resources)
        return StageApp(spec, _stage_runner(stage, ports).run, settings, now=clock)
    drain = Drain()
    if spec == pipeline.RELAY:
        relay = Relay(
            ports.publisher,
            _dead_letters(settings),
            wait=drain.wait,
            max_delay_s=settings.retry_max_delay_s,
        )
        run = relay.run
    else:
        run = (await webhook_intake(ports, drain.wait, resources)).run
    return StageApp(spec, run, settings, now=clock, on_drain=drain.begin, on_assigned=drain.end)


def _stage_runner(stage: Stage[Any], ports: WorkerPorts) -> StageRunner:
    settings = ports.settings
    handler = StageHandler(
        stage,
        _dead_letters(settings),
        retry=RecordRetryPolicy.from_settings(settings),
        default_deadline_ms=settings.default_deadline_ms,
        knows=ports.registry.knows,
    )
    return StageRunner(handler, ports.publisher)


def _dead_letters(settings: Settings) -> DeadLetters:
    return DeadLetters(reply_topics=settings.reply_topics, default_deadline_ms=settings.default_deadline_ms)
