"""What a weighted loss teaches about stopping, worked out by hand: q(v) is proportional to w(v) p(v).

After a reasoning step the student either goes on, with the first token of the next step, or stops, with
the closing words. The teacher stops with a probability of .3. Of the expected loss
``-sum p(v) w(v) log q(v)``, the minimum is at q(v) = w(v) p(v) / sum(w p), here .3 / (.3 + .7 w).
"""

import pytest
import torch

from kpod_ray.algorithm.loss import weighted_nll
from kpod_ray.config import StudentConfig
from kpod_ray.data.batches import collate
from kpod_ray.data.examples import Example
from kpod_ray.data.training_examples import training_example

GO_ON, STOP, OTHER = 0, 1, 2
"""Token ids: first token of a step, first token of the closing words, any other."""


def rationale(num_steps, weight):
    """Return an example of one or two steps "first, other" and the closing's first token."""
    tokens = [GO_ON, OTHER] * num_steps
    return Example(
        question_id=str(num_steps),
        prompt_ids=[OTHER],
        target_ids=[*tokens, STOP],
        token_weights=[*([weight, 1.0] * num_steps), 1.0],
        token_steps=[*(j // 2 for j in range(len(tokens))), num_steps],
        token_keypoints=[False] * (len(tokens) + 1),
        token_boundaries=[*([True, False] * num_steps), False],
        num_steps=num_steps,
    )


def stop_probability(examples, given):
    """Return the learned probability to stop after the first step: a softmax of three logits."""
    batch = collate(examples, [given] * len(examples), 0)
    # The decision is the second token of the loss: after the tokens of step 0.
    decides = (batch.columns == 2).nonzero().squeeze(1)
    assert sorted(set(batch.labels[decides].tolist())) == [GO_ON, STOP]
    labels, weights = batch.labels[decides], batch.token_weights[decides]
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        # With the unit matrix as head, the hidden state is the vector of logits.
        loss, _, _ = weighted_nll(logits.expand(len(labels), 3), torch.eye(3), labels, weights)
        (loss / len(labels)).backward()
        return loss.detach() / len(labels)

    optimizer.step(closure)
    return torch.softmax(logits.detach()[0], 0)[STOP].item()


# .3 / (.3 + .7 * .74) = .3667 and .3 / (.3 + .7 * .18) = .7042.
@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize(
    ("weight", "boundary", "learned"),
    [
        (0.74, False, 0.3 / 0.818),
        (0.18, False, 0.3 / 0.426),
        (0.74, True, 0.3),
        (0.18, True, 0.3),
        (1.0, False, 0.3),
    ],
)
def test_a_student_learns_the_teachers_stops_only_with_a_boundary(weight, boundary, learned, given):
    corpus = [rationale(1, weight)] * 3 + [rationale(2, weight)] * 7
    student = StudentConfig(model="m", boundary=boundary)
    made = [training_example(example, student, 0) for example in corpus]
    assert stop_probability(made, given) == pytest.approx(learned, abs=0.001)
