"""The report of one run: accuracies, rationales, token weights, schedule, losses, predictions."""
