"""Builds the cost stage."""

from contextlib import AsyncExitStack

from agents.cost.stage import CallCounts, CostStage
from agents.worker_ports import WorkerPorts


async def build(ports: WorkerPorts, _: AsyncExitStack) -> CostStage:
    """Return the stage; its counts are in the worker's metrics."""
    settings = ports.settings
    return CostStage(
        ports.registry,
        store_text=settings.store_text,
        text_by_tenant=settings.text_by_tenant,
        counts=CallCounts(ports.metrics),
    )
