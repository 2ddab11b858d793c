"""Examples of students for tests of batches: two by hand, and any number by chance."""

from hypothesis import strategies as st

from kpod_ray.data.examples import Example

EOS, PAD = 99, 0

SHORT = Example(
    "short",
    [1, 2],
    [11, 12, EOS],
    [0.25, 0.5, 1.0],
    [0, 1, 2],
    [True, False, False],
    [True, True, False],
    2,
)
LONG = Example(
    "long",
    [3, 4, 5],
    [21, 22, 23, 24, EOS],
    [0.5, 0.75, 0.25, 1, 1],
    [0, 0, 1, 2, 2],
    [False, True, True, False, False],
    [True, False, True, False, False],
    2,
)


@st.composite
def drawn_examples(draw):
    """Examples of random length, and as many given steps as each may have."""
    examples, given_steps = [], []
    for i in range(draw(st.integers(1, 5))):
        lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        steps = [step for step, length in enumerate(lengths) for _ in range(length)]
        prompt = list(range(100, 100 + draw(st.integers(1, 6))))
        target = [1000 * (i + 1) + j for j in range(len(steps) - 1)]
        weights = [(j + 1) / 32 for j in range(len(steps))]
        examples.append(
            Example(
                str(i),
                prompt,
                [*target, EOS],
                weights,
                steps,
                [step < len(lengths) - 1 and j % 2 == 0 for j, step in enumerate(steps)],
                [step < len(lengths) - 1 and step not in steps[:j] for j, step in enumerate(steps)],
                len(lengths) - 1,
            )
        )
        given_steps.append(draw(st.integers(0, len(lengths) - 1)))
    return examples, given_steps
