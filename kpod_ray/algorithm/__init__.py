"""The method of KPOD (arXiv 2405.16064): losses, masks, difficulties, schedules.

Modules of this package take tensors, arrays, numbers and strings. They import the standard library,
numpy, scipy, torch and `kpod_ray.kernels`, and nothing else of this project.
"""
