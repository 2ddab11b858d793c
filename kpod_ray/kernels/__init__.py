"""Fast or memory-saving replacements of torch operations and transformers layers.

Only this package holds in-place operations, recompute closures and custom autograd functions. Every
file begins with what it computes, why it exists, what it was measured to save, and what would break it.
"""
