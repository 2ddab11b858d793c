"""Comparison of methods: train and evaluate every arm with every seed, and test the arms."""
