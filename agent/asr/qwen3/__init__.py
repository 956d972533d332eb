"""Qwen3-ASR and its forced aligner, on Transformers or on vLLM."""
