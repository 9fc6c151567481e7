"""The embeddings stage: from texts to vectors for clients. `agents.embeddings` is the cache's encoder."""
