"""Answers in texts: extraction, comparison with gold answers, and the final answer sentence."""
