"""Extract answers from texts, compare answers with gold answers, and find final answer sentences."""
