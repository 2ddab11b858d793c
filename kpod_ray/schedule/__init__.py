"""Phases ``assess`` and ``plan``: step difficulties, question clusters, stages; replanning."""
