"""Voxtral Realtime on vLLM."""
