"""The method of KPOD (arXiv 2405.16064) and nothing else.

Every module here takes tensors, arrays, numbers and strings, and imports only the standard
library, numpy, scipy and torch: no Ray, no vLLM, no configuration. So each equation can be read beside
the paper and tested by hand; where it runs and what it runs on is decided elsewhere.
"""
