"""Benchmarks, one command each: ``python -m benchmarks.NAME``.

Every benchmark prints its figures while it runs, and as the last line one JSON object with the figures,
the machine and the versions that matter. docs/results.md records the figures with their commands.
"""
