"""Why a model stopped: every provider's word for it as one of OpenAI's four.

The table has those of OpenAI and Azure, Anthropic, Gemini, Bedrock, Mistral, vLLM, TGI, Ollama, llama.cpp,
OpenRouter, DeepSeek and Zhipu. A word that it has not may mean that the answer is half of one: such a call
has failed.
"""

from typing import Final

from agents.providers.answers.encodable import encodable
from agents.providers.faults import Overloaded, ProviderFault, ServerFault, UnusableAnswer

_MAX_SHOWN = 100
#: Where a stream names several, the last one of this list stands.
_RANK: Final = ("stop", "tool_calls", "length", "content_filter")
_WORDS: Final = {
    "stop": (
        "stop eos eos_token end_turn end stop_sequence stop_token stop_words complete completed finished "
        "done natural finish_reason_stop"
    ),
    "length": (
        "length max_tokens max_output_tokens max_new_tokens max_length max_context_length model_length "
        "model_context_window_exceeded context_length context_length_exceeded token_limit limit pause_turn "
        "finish_reason_length finish_reason_max_tokens"
    ),
    "tool_calls": "tool_calls tool_call tool_use tool function_call function_calls functions",
    "content_filter": (
        "content_filter content_filtered content_filtering safety recitation blocklist prohibited_content "
        "spii image_safety language guardrail_intervened guardrails refusal moderation sensitive "
        "finish_reason_content_filter finish_reason_safety"
    ),
}
_UNDERSTOOD: Final = {word: reason for reason, words in _WORDS.items() for word in words.split()}
_FAILED: Final = frozenset(
    (
        "error errored failed failure abort aborted cancel cancelled canceled interrupted incomplete timeout "
        "network_error server_error internal_error model_error error_limit error_toxic "
        "malformed_function_call malformed_tool_call unexpected_tool_call malformed_response "
        "malformed_model_output other unknown unspecified finish_reason_unspecified rejected"
    ).split()
)
_OVERLOADED: Final = frozenset({"insufficient_system_resource", "overloaded", "capacity"})


def finish_reason(said: list[str]) -> str:
    """Return OpenAI's word for the finish reasons that one answer names, at least one.

    A word for a failure, or one that is in no table, is a `ProviderFault`.
    """
    return max((_understood(each) for each in said), key=_RANK.index)


def _understood(said: str) -> str:
    word = said.strip().lower().replace("-", "_").replace(" ", "_")
    reason = _UNDERSTOOD.get(word)
    if reason is None:
        raise _fault(word, encodable(said[:_MAX_SHOWN]))
    return reason


def _fault(word: str, shown: str) -> ProviderFault:
    if word in _OVERLOADED:
        return Overloaded(f"the provider broke off its answer: finish_reason {shown!r}")
    if word in _FAILED:
        return ServerFault(f"the provider's answer failed: finish_reason {shown!r}")
    return UnusableAnswer(f"the provider ended its answer with an unknown finish_reason, {shown!r}")
