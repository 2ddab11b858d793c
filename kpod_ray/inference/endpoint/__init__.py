"""Generation by an OpenAI-compatible endpoint: requests, keys, rate limits and costs."""
