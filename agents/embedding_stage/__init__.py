"""The embeddings stage: from texts to vectors for clients (`agents.embeddings` is the cache's own encoder).

Begin with `stage`; the calls themselves are made in `agents.paid_calls`.
"""
