"""KPOD: keypoint-based progressive chain-of-thought distillation (arXiv 2405.16064), on Ray.

Where the parts of the paper live:

- reasoning steps, answers: `kpod_ray.algorithm.steps`, `kpod_ray.answers.extraction`
- token weights and their training, Eq. 2 to 7: `kpod_ray.weighting.model`,
  `kpod_ray.weighting.predictors`, `kpod_ray.algorithm.keypoint_mask`; their quality:
  `kpod_ray.weighting.quality`
- step difficulty, Eq. 8: `kpod_ray.algorithm.step_difficulty`
- weighted loss, Eq. 14 and 15: `kpod_ray.algorithm.loss`
- ceiling and given steps, Eq. 10 and 11: `kpod_ray.algorithm.schedule`
- value function and its solvers, Eq. 12 and 13: `kpod_ray.algorithm.selection`

`kpod_ray.pipeline.run` runs the phases in order; `kpod_ray.comparison` compares methods.
"""
