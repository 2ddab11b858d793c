"""KPOD: keypoint-based progressive chain-of-thought distillation (arXiv 2405.16064), on Ray.

Where the parts of the paper live:

- reasoning steps, answers: `kpod_ray.algorithm.steps`, `kpod_ray.algorithm.answers`
- token weights and their training, Eq. 2 to 7: `kpod_ray.models.weighter`,
  `kpod_ray.models.predictors`, `kpod_ray.algorithm.masking`; their quality:
  `kpod_ray.algorithm.keypoints`
- step difficulty, Eq. 8, and the weighted loss, Eq. 14 and 15: `kpod_ray.algorithm.loss`
- ceiling and given steps, Eq. 10 and 11: `kpod_ray.algorithm.schedule`
- value function and its solvers, Eq. 12 and 13: `kpod_ray.algorithm.selection`

`kpod_ray.pipeline` strings the phases together, `kpod_ray.comparison` compares methods;
`kpod_ray.distributed` runs them on Ray.
"""
