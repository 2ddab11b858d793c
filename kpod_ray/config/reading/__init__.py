"""Reading of configs and overrides: strict YAML, merging of overrides, messages, refused keys."""
