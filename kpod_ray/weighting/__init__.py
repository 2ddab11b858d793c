"""Phase ``weigh``: token weights, learned by the masking weighter or given by the user."""
