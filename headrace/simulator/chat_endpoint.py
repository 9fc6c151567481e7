"""Serves chat calls of either API, whole and streamed."""

import time
from typing import Any

from headrace.simulator.behaviour.rules import FaultRule
from headrace.simulator.billing.charges import BilledUsage
from headrace.simulator.billing.invoice_items import BilledAs
from headrace.simulator.endpoint import Endpoint, ReplyPlan, answer_whole
from headrace.simulator.generation.chat_task import ChatTask
from headrace.simulator.generation.generate import generate
from headrace.simulator.generation.stream_script import ReplyHead
from headrace.simulator.provider_api import RequestHeaders
from headrace.simulator.simulated_call import SimulatedCall
from headrace.simulator.stream_playback import StreamPlayback


class ChatEndpoint(Endpoint[ChatTask]):
    """`POST …/chat/completions` or `POST …/messages`, by the API."""

    def read(self, body: Any, headers: RequestHeaders) -> ChatTask:
        """Turn a decoded body into a task."""
        return self.api.read_chat(body, headers)

    async def answer(self, call: SimulatedCall, task: ChatTask, fault: FaultRule | None) -> None:
        """Generate the answer and send it, whole or in pieces."""
        director = self.simulation.director
        rule = director.answer(self.api.provider, task.model, task.prompt)
        made = generate(task, rule, self.simulation.seed)
        cached_tokens = director.cached_tokens(task.input_tokens)
        head = ReplyHead(call_id=call.call_id, created=int(time.time()), cached_tokens=cached_tokens)

        def bill(output_tokens: int, status: BilledAs) -> None:
            usage = BilledUsage(
                input_tokens=task.input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
            )
            call.bill(task, usage, status)

        plan = ReplyPlan(timing=director.timing(fault), fault=fault, bill=bill)
        if task.stream:
            script = self.api.stream_script(task, made, head, rule.chunk_chars if rule else None)
            await StreamPlayback(call, made, script, plan).run()
        else:
            body = self.api.whole_reply(task, made, head)
            await answer_whole(call, body, made.output_tokens, plan)
