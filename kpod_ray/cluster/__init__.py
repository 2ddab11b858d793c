"""Use of Ray: connection, capacity checks, placement, actor pools, tasks, Ray Train runs.

Nothing in this package depends on the code of a phase.
"""
