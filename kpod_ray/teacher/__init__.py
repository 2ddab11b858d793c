"""Phase ``teacher``: sampling rationales, filtering them, choosing those that are trained on."""
