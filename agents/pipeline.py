"""The stages, in the order in which a request meets them.

    requests → [guardrail] → guarded → [cache] → misses → [llm] → completions → [output] ┐
                    │                     │                  │                            ▼
                    └──── blocked ────────┴──── cached ──────┴── failed, degraded ──► outcomes → [cost]
                                                                                          ▲
    embeddings → [embeddings] ────────────────────────────────────────────────────────────┘

Requests for embeddings come on a topic of their own, and one stage does for them what the others do for chat.
Every stage may also decide a request by itself: its outcome then goes straight to *cost*. And every stage
may put a record aside while something that it needs is away: the relay brings it back. Where a sender wants
to be told of the end of its request, *cost* leaves a note for the webhooks.

To add a stage: write its class in a package of its own in the shape of `agents.stage.Stage`, give it a source
topic in `streams.topics`, build it in `agents.bootstrap`, and name it here.
"""

STAGES: tuple[str, ...] = ("guardrail", "cache", "llm", "output", "embeddings", "cost")

#: Not a stage: brings records that were put aside back to the stages' topics.
RELAY = "retries"

#: Not a stage: tells those who asked for it, by a webhook, that their request has ended.
WEBHOOKS = "webhooks"

#: Everything that a worker can run, each a consumer group of its own.
CONSUMERS: tuple[str, ...] = (*STAGES, RELAY, WEBHOOKS)
