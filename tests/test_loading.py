import gc

import pytest

from kpod_ray.loading import uncollected


def load_nothing(seen):
    with uncollected():
        seen.append(gc.isenabled())
        raise ImportError


def test_nothing_is_collected_inside_and_again_afterwards_whatever_happens():
    seen = []
    with pytest.raises(ImportError):
        load_nothing(seen)
    assert seen == [False]
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
