"""Embeddings of text for the cache: all-MiniLM-L6-v2 on ONNX Runtime, on this machine.

Begin with `minilm`. `graph` builds the model, once a machine; `model_files` keeps it.
"""
