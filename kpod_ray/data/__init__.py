"""Convert questions and rationales to batches of tokens: prompts, examples, batches and their order."""
