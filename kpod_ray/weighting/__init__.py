"""Phase ``weigh``: token weights, learned by a token weighter, read from a file, or set by a rule."""
