"""Between files and the algorithm: questions, prompts, rationales, examples, batches and clusters.

Values that come from users are checked here, where they enter, and never again. Nothing in here
knows Ray.
"""
