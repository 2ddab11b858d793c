import pytest

from kpod_ray.config import EndpointTeacher, PriceConfig
from kpod_ray.inference.endpoint.costs import cost, estimate

PRICE = PriceConfig(input=2.0, output=10.0)


def test_the_cost_of_tokens_is_by_the_million():
    assert cost(1_000_000, 500_000, PRICE) == pytest.approx(2 + 5)
    assert cost(10, 10, PriceConfig()) == 0


def test_an_estimate_has_a_token_for_four_characters_and_half_of_the_longest_answers():
    settings = {"kind": "endpoint", "model": "m", "base_url": "http://h/v1", "max_new_tokens": 200}
    teacher = EndpointTeacher(**settings, price=PRICE)
    empty = len("Q: \nA:\n")
    found = estimate(teacher, [], 1000, 400_000 - 1000 * empty)
    assert found.largest == pytest.approx(100_000 * 2e-6 + 200_000 * 10e-6)
    assert found.expected == pytest.approx(100_000 * 2e-6 + 100_000 * 10e-6)
    shots = [("one?", "1"), ("two?", "2")]  # the second would stand in for the first
    more = estimate(teacher, shots, 1000, 400_000 - 1000 * empty).largest - found.largest
    assert more == pytest.approx(1000 * len("Q: one?\nA:\n1\n\n") / 4 * 2e-6)
    assert str(found) == "1,000 requests: about 1.20, at most 2.20"
