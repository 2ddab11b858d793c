"""A run: its phases in order, the fingerprints of its artifacts, looking a run up, exporting it."""
