"""The report of a sweep: the best settings, the importance of settings, all trials."""
