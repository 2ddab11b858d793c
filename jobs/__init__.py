"""One thin file a phase, and run.py: what `ray job submit` starts."""
