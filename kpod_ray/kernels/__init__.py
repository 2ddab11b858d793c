"""Fast or memory-saving replacements of torch operations and transformers layers.

In-place operations, recompute closures and custom autograd functions occur only in this package. The
docstring of every module states what the module computes, why it exists, what it was measured to save,
and what would break it.
"""
