"""Builds the output stage."""

from contextlib import AsyncExitStack

from agents.checks.output_policy import OutputPolicy
from agents.output.stage import OutputStage
from agents.worker_ports import WorkerPorts


async def build(ports: WorkerPorts, _: AsyncExitStack) -> OutputStage:
    """Return the stage."""
    return OutputStage(ports.prompts, ports.cache, policy=OutputPolicy.from_settings(ports.settings))
