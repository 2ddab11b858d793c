"""Reading answers out of texts: extraction, comparison with gold answers, the final sentence."""
