"""Models: the student, the token weighter, and where model folders come from."""
