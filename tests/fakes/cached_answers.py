"""What a test asks of the cache's store."""

from agents.stores.answer_cache import AnswerCache, index_key


async def entries(cache: AnswerCache, tenant: str) -> int:
    """How many answers of a tenant can be given again."""
    return int(await cache._redis.zcount(index_key(tenant), cache._clock(), "+inf"))
