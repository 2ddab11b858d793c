"""The method of KPOD (arXiv 2405.16064): losses, keypoint masks, step difficulties, schedules.

Functions of this package take tensors, arrays, numbers and strings. The modules import the standard
library, numpy, scipy, torch and `kpod_ray.kernels`, and nothing else of this project.
"""
