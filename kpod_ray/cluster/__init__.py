"""Ray: connecting, checking capacity, placing actors, pools of actors, tasks and Ray Train runs.

Nothing in this package knows the phases of a run.
"""
