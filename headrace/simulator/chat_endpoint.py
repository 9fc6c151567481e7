"""Answers chat calls of either API, whole and streamed."""

import time

from headrace.simulator.behaviour.rules import FaultRule
from headrace.simulator.billing.charges import BilledUsage
from headrace.simulator.billing.invoice_items import BilledAs
from headrace.simulator.endpoint import Endpoint, ReplyPlan, answer_whole
from headrace.simulator.generation.chat_task import ChatTask
from headrace.simulator.generation.generate import generate
from headrace.simulator.generation.stream_script import ReplyHead
from headrace.simulator.provider_api import ProviderApi
from headrace.simulator.simulated_call import SimulatedCall, Simulation
from headrace.simulator.stream_playback import StreamPlayback


def chat_endpoint(simulation: Simulation, api: ProviderApi) -> Endpoint[ChatTask]:
    """Return `POST …/chat/completions` or `POST …/messages`, by the API."""
    return Endpoint(simulation, api, api.id_prefix, read=api.read_chat, answer=_answer)


async def _answer(call: SimulatedCall, task: ChatTask, fault: FaultRule | None) -> None:
    director, api = call.simulation.director, call.api
    rule = director.answer(api.provider, task.model, task.prompt)
    made = generate(task, rule, call.simulation.seed)
    cached_tokens = director.cached_tokens(task.input_tokens)
    head = ReplyHead(call_id=call.call_id, created=int(time.time()), cached_tokens=cached_tokens)

    def bill(output_tokens: int, status: BilledAs) -> None:
        usage = BilledUsage(
            input_tokens=task.input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
        )
        call.bill(task, usage, status)

    plan = ReplyPlan(timing=director.timing(fault), fault=fault, bill=bill)
    if task.stream:
        script = api.stream_script(task, made, head, rule.chunk_chars if rule else None)
        await StreamPlayback(call, made, script, plan).run()
    else:
        await answer_whole(call, api.whole_reply(task, made, head), made.output_tokens, plan)
