"""Exactly-once text generation by vLLM engines, OpenAI-compatible endpoints and transformers."""
