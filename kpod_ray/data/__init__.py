"""From questions and rationales to batches of tokens: prompts, examples, batches, their order."""
