"""KPOD: keypoint-based progressive chain-of-thought distillation (arXiv 2405.16064), on Ray.

Modules of the parts of the paper:

- reasoning steps, answers: `kpod_ray.algorithm.steps`, `kpod_ray.answers.extraction`
- token weights, Eq. 2 to 7: `kpod_ray.weighting.model`, `kpod_ray.weighting.predictors`,
  `kpod_ray.algorithm.keypoint_mask`; their quality: `kpod_ray.weighting.quality`
- step difficulty, Eq. 8: `kpod_ray.algorithm.step_difficulty`
- ceiling and given steps, Eq. 10 and 11: `kpod_ray.algorithm.schedule`
- value function and its solvers, Eq. 12 and 13: `kpod_ray.algorithm.selection`
- weighted loss, Eq. 14 and 15: `kpod_ray.algorithm.loss`

`kpod_ray.pipeline.run` runs the phases in order; `kpod_ray.comparison` compares methods.

The first use of a name in ``__all__`` imports its module; ``import kpod_ray`` alone imports neither
torch nor Ray, so that it takes a fraction of a second.
"""

import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpod_ray.algorithm.loss import weighted_nll
    from kpod_ray.algorithm.schedule import plan_stages
    from kpod_ray.algorithm.step_difficulty import step_difficulties
    from kpod_ray.algorithm.steps import split_steps
    from kpod_ray.answers.extraction import answers_equal, extract_answer
    from kpod_ray.config import load as load_config
    from kpod_ray.evaluation.statistics import compare_paired
    from kpod_ray.pipeline.corpus_reader import read_corpus
    from kpod_ray.weighting.model import TokenWeighter

__all__ = [
    "TokenWeighter",
    "answers_equal",
    "compare_paired",
    "extract_answer",
    "load_config",
    "plan_stages",
    "read_corpus",
    "split_steps",
    "step_difficulties",
    "weighted_nll",
]

_HOMES = {
    "TokenWeighter": "kpod_ray.weighting.model:TokenWeighter",
    "answers_equal": "kpod_ray.answers.extraction:answers_equal",
    "compare_paired": "kpod_ray.evaluation.statistics:compare_paired",
    "extract_answer": "kpod_ray.answers.extraction:extract_answer",
    "load_config": "kpod_ray.config:load",
    "plan_stages": "kpod_ray.algorithm.schedule:plan_stages",
    "read_corpus": "kpod_ray.pipeline.corpus_reader:read_corpus",
    "split_steps": "kpod_ray.algorithm.steps:split_steps",
    "step_difficulties": "kpod_ray.algorithm.step_difficulty:step_difficulties",
    "weighted_nll": "kpod_ray.algorithm.loss:weighted_nll",
}


# Hidden from type checkers: with a module __getattr__, they would accept any name as an attribute.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import an exported name at its first use.

        Raises:
            AttributeError: The name isn't exported.
        """
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = pkgutil.resolve_name(_HOMES[name])
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
