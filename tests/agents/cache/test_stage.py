"""The cache stage with a real Redis."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from agents.cache.similar import STATIC_THRESHOLD
from agents.cache.stage import CacheSettings, CacheStage
from agents.embeddings.minilm import MiniLmEmbedder
from agents.output.stage import OutputStage
from agents.prompts import PromptCatalogue
from agents.stores.answer_cache import AnswerCache
from streams.control.catalogue import LiveCatalogue
from streams.events import (
    CacheKind,
    CacheLookup,
    CacheMissed,
    Completed,
    Message,
    OutcomeReached,
    RequestGuarded,
    Status,
    Usage,
)
from streams.publisher import Emit
from streams.redis import connection
from streams.topics import COMPLETIONS, GUARDED, MISSES, OUTCOMES
from tests.fakes.embedders import WordEmbedder
from tests.fakes.envelopes import NOW, chat, completion, delivery, envelope, said

pytestmark = pytest.mark.integration

SETTINGS = CacheSettings(threshold=0.92, default_model="gpt-4o-mini", default_max_tokens=1_024)
LONG = "why do cats sleep so much during the day in a warm house"


class Pipe:
    """The cache stage, and the output check behind it that fills the cache."""

    def __init__(self, redis: Redis, embedder: MiniLmEmbedder | WordEmbedder | None) -> None:
        self.prompts = PromptCatalogue()
        self.cache = AnswerCache(redis, ttl_s=60, max_entries=100)
        self.tenant = uuid4().hex
        self.now = NOW
        self.embedder = embedder
        self.models = LiveCatalogue()
        self.stage = CacheStage(
            SETTINGS, self.prompts, self.cache, embedder, self.models, clock=lambda: self.now
        )
        self.output = OutputStage(self.prompts, self.cache, clock=lambda: self.now)

    async def ask(self, query: str | None = None, **fields: Any) -> Any:
        """Return the event that the stage sends."""
        tenant = fields.pop("tenant", self.tenant)
        request_id = fields.pop("request_id", uuid4().hex)
        made = envelope(chat(query=query, **fields), tenant=tenant, request_id=request_id)
        (emit,) = await self.stage.handle(delivery(RequestGuarded(envelope=made), topic=GUARDED))
        return sole(emit)

    async def answer(self, missed: CacheMissed, content: str) -> None:
        """Let a model answer what was missed."""
        event = Completed(
            envelope=missed.envelope,
            messages=missed.messages,
            completion=completion(content),
            cache_slot=missed.cache_slot,
        )
        await self.output.handle(delivery(event, topic=COMPLETIONS))


def words(pipe: Pipe) -> WordEmbedder:
    assert isinstance(pipe.embedder, WordEmbedder)
    return pipe.embedder


def sole(emit: Emit) -> Any:
    event: Any = emit.value
    assert emit.key == event.envelope.request_id
    assert emit.topic == (MISSES if isinstance(emit.value, CacheMissed) else OUTCOMES).name
    return emit.value


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
def pipe(redis: Redis) -> Pipe:
    return Pipe(redis, WordEmbedder())


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniLmEmbedder]:
    embedder = MiniLmEmbedder.load(tmp_path_factory.mktemp("models"))
    yield embedder
    embedder.close()


# ── what the model is asked ───────────────────────────────────────────────────────────────────────


async def test_a_query_is_rendered_by_its_template(pipe: Pipe) -> None:
    """The template's model and length, but for what the request says itself."""
    missed = await pipe.ask("a bug?", template="code_review", variables={"code": "x = {query}"})
    assert missed.messages[0].text.count("x = {query}") == 1
    assert (missed.default_model, missed.max_output_tokens) == ("claude-sonnet-4-20250514", 2048)
    assert missed.envelope.prompt.version == "v1"
    own = await pipe.ask("q", model="gpt-4o", max_tokens=7)
    assert (own.default_model, own.max_output_tokens) == ("gpt-4o", 7)


async def test_messages_go_as_they_are(pipe: Pipe) -> None:
    """With the installation's model and length."""
    messages = (said("system", "be brief"), said("user", "hi"))
    missed = await pipe.ask(None, messages=messages)
    assert (missed.messages, missed.envelope.prompt) == (messages, None)
    assert (missed.default_model, missed.max_output_tokens) == ("gpt-4o-mini", 1_024)


async def test_no_more_is_asked_for_than_the_model_can_give(pipe: Pipe) -> None:
    """A template's length may be more than another model's limit."""
    missed = await pipe.ask("q", model="claude-3-opus", max_tokens=50_000)
    assert missed.max_output_tokens == 4_096


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"template": "poem"}, "template_not_found", "template"),
        ({"template": "rag_answer"}, "missing_variable", "variables.context"),
    ],
)
async def test_what_cannot_be_rendered_fails(
    pipe: Pipe, fields: dict[str, Any], code: str, param: str
) -> None:
    """As the sender's mistake."""
    failed: OutcomeReached = await pipe.ask("q", **fields)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert (failed.error.type, failed.error.code, failed.error.param) == (
        "invalid_request_error",
        code,
        param,
    )


# ── hits and misses ───────────────────────────────────────────────────────────────────────────────


async def test_a_miss_says_where_its_answer_will_be_kept(pipe: Pipe) -> None:
    """With the static vector, by which a similar question will find it."""
    missed = await pipe.ask(LONG)
    assert missed.envelope.cache.kind is CacheKind.MISS
    assert missed.envelope.cache.similarity is None
    assert missed.cache_slot.text == LONG
    assert len(missed.cache_slot.static_vector) == 4 * WordEmbedder().dimensions


async def test_the_same_question_is_an_exact_hit(pipe: Pipe) -> None:
    """Blanks apart. It costs no tokens, and says whose answer it was."""
    missed = await pipe.ask(LONG)
    await pipe.answer(missed, "They hunt at dawn.")
    hit: OutcomeReached = await pipe.ask(f"  {LONG.replace(' ', '  ')} ")
    assert hit.status is Status.CACHED
    assert hit.completion is not None
    assert (hit.completion.content, hit.completion.usage) == ("They hunt at dawn.", Usage())
    assert hit.completion.model == "gpt-4o-2024-08-06"
    lookup = hit.envelope.cache
    assert lookup is not None
    assert (lookup.kind, lookup.similarity, lookup.source_request_id) == (
        CacheKind.EXACT,
        1.0,
        missed.envelope.request_id,
    )
    assert lookup.hit


async def test_a_similar_question_is_a_semantic_hit(pipe: Pipe) -> None:
    """From the threshold on, with its cosine."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    hit = await pipe.ask(LONG.replace("why", "wherefore"))
    assert hit.status is Status.CACHED
    assert hit.envelope.cache.kind is CacheKind.SEMANTIC
    assert 0.92 <= hit.envelope.cache.similarity < 1


async def test_a_trap_is_a_miss_whatever_its_cosine(pipe: Pipe) -> None:
    """The veto comes first: nothing is embedded, so there is no cosine to report."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    missed = await pipe.ask(LONG.replace("do", "don't"))
    assert isinstance(missed, CacheMissed)
    assert missed.envelope.cache == CacheLookup(kind=CacheKind.MISS)
    assert words(pipe).calls == []


async def test_a_near_miss_says_how_near(pipe: Pipe) -> None:
    """The cosine of the nearest question that was compared, below the threshold."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    missed = await pipe.ask(LONG.replace("why do cats", "how can kittens"))
    assert isinstance(missed, CacheMissed)
    assert missed.envelope.cache is not None
    assert missed.envelope.cache.similarity is not None
    assert STATIC_THRESHOLD < missed.envelope.cache.similarity < SETTINGS.threshold


async def test_a_new_question_is_not_embedded(pipe: Pipe) -> None:
    """Nor is one that is asked again, or one that passes the cache by."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    await pipe.ask("which of the rivers in spain is the longest")
    await pipe.ask(LONG)
    await pipe.ask(LONG.replace("why", "wherefore"), headrace_cache="no-cache")
    await pipe.ask(LONG.replace("why", "wherefore"), headrace_cache="no-store")
    await pipe.ask(LONG.replace("why", "wherefore"), temperature=1.5)
    assert words(pipe).calls == []


async def test_a_stored_question_is_embedded_once(pipe: Pipe) -> None:
    """In one call with the first question that comes near it; a question that was compared brings its own."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    near, other = LONG.replace("why do cats", "how can kittens"), LONG.replace("why", "wherefore")
    await pipe.answer(await pipe.ask(near), "They are small.")
    assert (await pipe.ask(other)).status is Status.CACHED
    assert words(pipe).calls == [[near, LONG], [other]]


async def test_an_answer_that_is_too_old_is_not_embedded(pipe: Pipe) -> None:
    """The age is looked at before."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    pipe.now += timedelta(seconds=60)
    await pipe.ask(LONG.replace("why", "wherefore"), headrace_cache="max-age=59")
    assert words(pipe).calls == []


async def test_an_exact_answer_that_is_too_old_does_not_hide_a_similar_one(pipe: Pipe) -> None:
    """The neighbours are looked at where the sender bounds the age."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    pipe.now += timedelta(seconds=60)
    near = LONG.replace("why", "wherefore")
    await pipe.answer(await pipe.ask(near, headrace_cache="no-cache"), "They hunt at dusk.")
    hit = await pipe.ask(LONG, headrace_cache="max-age=30")
    assert hit.envelope.cache.kind is CacheKind.SEMANTIC
    assert hit.completion.content == "They hunt at dusk."


async def test_a_vetoed_neighbour_does_not_hide_a_good_one(pipe: Pipe) -> None:
    """The next candidates are looked at too."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    trap = f"{LONG} not"
    await pipe.answer(await pipe.ask(trap), "They do sleep.")
    hit = await pipe.ask(f"{LONG} usually")
    assert hit.status is Status.CACHED
    assert hit.completion.content == "They hunt at dawn."


async def test_nobody_elses_answer_is_served(pipe: Pipe) -> None:
    """Another tenant, model or conversation misses, the text being equal."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    for fields in (
        {"tenant": uuid4().hex},
        {"model": "gpt-4o-mini"},
        {"session_id": "s"},
        {"temperature": 0.0},
    ):
        missed = await pipe.ask(LONG, **fields)
        assert missed.envelope.cache.kind is CacheKind.MISS, fields


async def test_tools_bypass_the_cache(pipe: Pipe) -> None:
    """Neither looked up nor kept."""
    missed = await pipe.ask(LONG, tools=({"type": "function", "function": {"name": "f"}},))
    assert (missed.envelope.cache.kind, missed.cache_slot) == (CacheKind.BYPASS, None)


@pytest.mark.parametrize("again", [LONG, LONG.replace("why", "wherefore")], ids=["exact", "similar"])
async def test_a_hit_says_its_age_and_may_be_too_old(pipe: Pipe, again: str) -> None:
    """`max-age` is in seconds; the answer that is asked for instead takes the place of the old one."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    pipe.now += timedelta(seconds=60)
    assert (await pipe.ask(again, headrace_cache="max-age=60")).envelope.cache.age_s == 60
    too_old = await pipe.ask(again, headrace_cache="max-age=59")
    assert too_old.envelope.cache.kind is CacheKind.MISS
    await pipe.answer(too_old, "They hunt at dusk.")
    assert (await pipe.ask(again)).completion.content == "They hunt at dusk."


@pytest.mark.parametrize(
    ("wish", "next_answer"),
    [
        ("no-cache", "They hunt at dusk."),
        ("max-age=0", "They hunt at dusk."),
        ("no-store", "They hunt at dawn."),
    ],
)
async def test_a_sender_may_pass_the_cache_by(pipe: Pipe, wish: str, next_answer: str) -> None:
    """A model is asked; who asks next gets the newer answer, unless it was not to be kept."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    passed = await pipe.ask(LONG, headrace_cache=wish)
    assert passed.envelope.cache.kind is CacheKind.BYPASS
    await pipe.answer(passed, "They hunt at dusk.")
    assert (await pipe.ask(LONG)).completion.content == next_answer


async def test_after_tools_have_acted_only_the_same_question_hits(pipe: Pipe) -> None:
    """Similar words may be about another part of a tool's result."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    acted = (
        said("user", "look it up"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="42", tool_call_id="c"),
    )
    await pipe.answer(await pipe.ask(None, messages=(*acted, said("user", LONG))), "They hunt at dawn.")
    assert (await pipe.ask(None, messages=(*acted, said("user", LONG)))).status is Status.CACHED
    similar = said("user", LONG.replace("why", "wherefore"))
    assert isinstance(await pipe.ask(None, messages=(*acted, similar)), CacheMissed)


async def test_a_text_that_the_model_does_not_read_to_its_end_matches_only_itself(redis: Redis) -> None:
    """Two long texts with one beginning have one vector."""
    pipe = Pipe(redis, WordEmbedder(covers_chars=20))
    missed = await pipe.ask(LONG)
    assert missed.cache_slot.static_vector is None
    await pipe.answer(missed, "They hunt at dawn.")
    assert (await pipe.ask(LONG)).status is Status.CACHED
    assert isinstance(await pipe.ask(LONG.replace("why", "wherefore")), CacheMissed)


async def test_vectors_of_two_embedders_are_never_compared(redis: Redis) -> None:
    """After a change of model the cache begins anew."""
    old = Pipe(redis, WordEmbedder("words-1"))
    await old.answer(await old.ask(LONG), "They hunt at dawn.")
    new = Pipe(redis, WordEmbedder("words-2"))
    assert isinstance(await new.ask(LONG.replace("why", "wherefore"), tenant=old.tenant), CacheMissed)


async def test_without_embeddings_equal_questions_still_hit(redis: Redis) -> None:
    """HEADRACE_EMBEDDINGS=off."""
    pipe = Pipe(redis, None)
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    assert (await pipe.ask(LONG)).status is Status.CACHED


async def test_a_broken_embedder_is_a_miss(pipe: Pipe) -> None:
    """The cache only ever saves work. The answer is stored, also for similar questions."""
    await pipe.answer(await pipe.ask(LONG), "They hunt at dawn.")
    words(pipe).broken = True
    similar = LONG.replace("why", "wherefore")
    missed = await pipe.ask(similar)
    assert missed.envelope.cache.kind is CacheKind.MISS
    await pipe.answer(missed, "They hunt at dusk.")
    assert (await pipe.ask(similar)).completion.content == "They hunt at dusk."
    assert missed.cache_slot.static_vector is not None


async def test_without_redis_everything_is_a_miss() -> None:
    """And is answered by a model; writing the answer fails quietly."""
    client = connection.connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    pipe = Pipe(client, WordEmbedder())
    missed = await pipe.ask(LONG)
    assert missed.envelope.cache.kind is CacheKind.MISS
    await pipe.answer(missed, "They hunt at dawn.")
    await client.aclose()


async def test_delivered_has_nothing_to_note(pipe: Pipe) -> None:
    """Looking up twice does no harm."""
    await pipe.stage.delivered(delivery(RequestGuarded(envelope=envelope()), topic=GUARDED))


# ── with the real model ───────────────────────────────────────────────────────────────────────────


HITS: Sequence[tuple[str, str]] = (
    ("What is the capital of France?", "What's the capital of France?"),
    ("How do I reset my password?", "How can I reset my password?"),
    ("How do I cancel my subscription?", "how can i cancel my subscription"),
    ("Explain quantum computing in simple terms", "Explain quantum computing simply"),
)
TRAPS: Sequence[tuple[str, str]] = (
    ("What is the capital of France?", "What is the capital of Germany?"),
    ("How do I fly from Paris to London?", "How do I fly from London to Paris?"),
    ("What is 3 minus 5?", "What is 5 minus 3?"),
    ("Is it legal to park here?", "Is it illegal to park here?"),
    ("Who won the election in 2020?", "Who won the election in 2024?"),
    ("Can I pay with a card?", "Can I pay without a card?"),
    ("Did the dog bite the man?", "Did the man bite the dog?"),
    ("convert usd to eur", "convert eur to usd"),
    ("f(x)\n  g(x)\nwhat is printed", "f(x)\ng(x)\nwhat is printed"),
)


@pytest.mark.parametrize(("asked", "again"), HITS)
async def test_a_paraphrase_is_served(redis: Redis, minilm: MiniLmEmbedder, asked: str, again: str) -> None:
    """Without a provider call."""
    pipe = Pipe(redis, minilm)
    await pipe.answer(await pipe.ask(asked), "the answer")
    hit = await pipe.ask(again)
    assert isinstance(hit, OutcomeReached)
    assert hit.envelope.cache is not None
    assert hit.envelope.cache.kind is CacheKind.SEMANTIC


@pytest.mark.parametrize(("asked", "again"), TRAPS)
async def test_a_trap_is_not_served(redis: Redis, minilm: MiniLmEmbedder, asked: str, again: str) -> None:
    """Most of these have a cosine of 0.97 and more."""
    pipe = Pipe(redis, minilm)
    await pipe.answer(await pipe.ask(asked), "the answer")
    assert isinstance(await pipe.ask(again), CacheMissed)


async def test_a_request_that_went_to_a_model_is_never_answered_from_the_cache(pipe: Pipe) -> None:
    """Its record comes again after a crash, and the answer is there by now; but the call must be booked."""
    request_id = uuid4().hex
    first = await pipe.ask(LONG, request_id=request_id)
    assert isinstance(first, CacheMissed)
    await pipe.answer(first, "Because they hunt at dawn.")
    again = await pipe.ask(LONG, request_id=request_id)
    assert isinstance(again, CacheMissed)
    assert again.cache_slot == first.cache_slot
    another = await pipe.ask(LONG)
    assert isinstance(another, OutcomeReached)
    assert another.status is Status.CACHED
