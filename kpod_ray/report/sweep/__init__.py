"""The report of a sweep: trials, importance of settings, the best trial."""
