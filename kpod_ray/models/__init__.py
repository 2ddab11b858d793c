"""Language models: where their files come from, loading students, packing support, checkpoints."""
