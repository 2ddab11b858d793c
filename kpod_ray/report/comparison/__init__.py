"""The report of a comparison: accuracies of the arms, statistical tests against the baseline, costs."""
