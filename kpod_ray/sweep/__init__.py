"""A sweep over settings with Ray Tune: trials share every artifact that their settings don't change."""
