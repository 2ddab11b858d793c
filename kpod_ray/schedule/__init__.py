"""Phases ``assess`` and ``plan``: step difficulties, question clusters and stages; replanning."""
