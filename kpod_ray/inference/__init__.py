"""Text generation, each row exactly once: vLLM engines, OpenAI-compatible endpoints, transformers."""
