"""The topic attack: hostile records over all topics, a shadow that forges, and the witness between them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from random import Random

from bench.abuse import condition
from bench.abuse.forged import Forger, Victim
from bench.abuse.receiver import Receiver
from bench.abuse.records import HostileRecords
from bench.abuse.sending import RawProducer, real_records
from bench.abuse.shadow import Shadow
from bench.abuse.verdict import Verdict, counted
from bench.abuse.witness import TENANT, USER, Witness
from headrace.up.home import Home

_WARM_UP_ROUNDS = 3
_SETTLE_S = 120.0
_PER_ROUND = 100


async def attack_topics(
    home: Home,
    *,
    seed: int,
    records: int,
    growth_mib: int,
    skip: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
) -> Verdict:
    """Send so many hostile records, and return what did not hold.

    Args:
        home: of a running system that knows the witness: see `bench.abuse.setting`.
        seed: of everything that is random.
        records: how many.
        growth_mib: by how much a process may grow.
        skip: beginnings of the kinds that are left out; *shadow* leaves out the shadow.
        say: told how far it is.
    """
    begun, chance, endpoints = time.monotonic(), Random(seed), home.endpoints()
    async with (
        Receiver() as receiver,
        Witness(endpoints.ingest, endpoints.kafka, receiver.url) as witness,
        RawProducer(endpoints.kafka) as producer,
    ):
        earlier = await asyncio.to_thread(condition.witness_rows, home)
        for _ in range(_WARM_UP_ROUNDS):
            await witness.round()
        await witness.all_replied(_SETTLE_S)
        await condition.stuck(endpoints.kafka, timeout_s=_SETTLE_S)
        before = condition.processes(home)
        victim = Victim(
            tenant=TENANT, user_id=USER, webhook=receiver.url, request_ids=list(witness.request_ids)
        )
        forger = Forger(victim, chance)
        hostile = HostileRecords(await real_records(endpoints.kafka), forger, chance)
        batch = [each for each in hostile.draw(records) if not each.kind.startswith(skip)]
        shadow = Shadow(endpoints.kafka, producer, Forger(victim, Random(seed)), skip)
        async with nullcontext() if "shadow" in skip else shadow:
            for begin in range(0, len(batch), _PER_ROUND):
                some = batch[begin : begin + _PER_ROUND]
                await asyncio.gather(producer.send_all(some), witness.round())
                say(f"{begin + len(some)} of {len(batch)} records, {len(witness.faults)} faults")
        faults, after = await condition.closing_faults(
            home, before, witness, receiver, growth_mib=growth_mib, timeout_s=_SETTLE_S
        )
        faults += await asyncio.to_thread(condition.forged_rows, home, earlier | set(witness.request_ids))
        if not shadow.shadowed and "shadow" not in skip:
            faults.append("the shadow saw no request: nothing was tried")
    return Verdict(
        seed=seed,
        sent=dict(producer.sent),
        answered=dict(producer.refused),
        witnessed=len(witness.request_ids),
        seconds=round(time.monotonic() - begun, 1),
        memory_mib={role: (was.rss_mib, after[role].rss_mib) for role, was in before.items()},
        faults=counted(faults),
    )
