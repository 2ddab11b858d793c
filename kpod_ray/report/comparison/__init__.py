"""The report of a comparison: arms, seeds and tests against the baseline."""
