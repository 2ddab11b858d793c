"""Sweep over settings with Ray Tune; trials share the artifacts that their settings don't change."""
