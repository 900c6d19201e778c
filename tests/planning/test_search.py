"""Which of the ways to make training fit is taken."""

import pytest

from ns_jax.planning import search as search_module
from ns_jax.planning.search import levels, possible_parts, search
from tests.planning.shapes import GIB, make_estimate, supervised


def test_search_takes_the_cheapest_level_and_its_cheapest_member(monkeypatch):
    """A stand-in compiler: memory halves with recomputation, and the state with its shares."""

    def compiled(program, devices):
        parallel = program  # see `build`
        size = 20 * GIB / (2 if parallel.remat else 1) / parallel.accumulation_steps + 8 * GIB / parallel.shard_state
        tried.append((parallel.remat, parallel.shard_state, parallel.accumulation_steps))
        return make_estimate(fits=size <= limit, memory_total=int(size))

    monkeypatch.setattr(search_module, "estimate", compiled)
    monkeypatch.setattr(
        search_module, "argument_bytes", lambda program, devices: {"state": 8 * GIB // program.shard_state}
    )
    config = supervised(labeled_batch_size=4096)
    best = {}
    for limit in (30 * GIB, 12 * GIB, 6 * GIB, GIB // 100):
        tried = []
        fit = search(config, 1024, limit, build, lambda line: None)
        parallel = fit and fit.config.parallel
        best[limit // GIB] = fit and (parallel.remat, parallel.shard_state, parallel.accumulation_steps)
        if limit == 30 * GIB:
            assert tried == [(False, 64, 1), (False, 1, 1)]
    assert best == {30: (False, 1, 1), 12: (True, 4, 1), 6: (True, 16, 2), 0: None}


def build(config):
    """In place of the training program: what the stand-in compiler looks at."""
    return config.parallel


def test_levels_divide_the_batch():
    accumulation = [level[0]["accumulation_steps"] for level in levels(supervised(labeled_batch_size=4096), 1024)]
    assert accumulation == [1, 1, 2, 2, 4, 4]  # without and with recomputation
    assert possible_parts(12) == [1, 2, 4] and possible_parts(0) == [1] and possible_parts(2**13)[-1] == 2**11


@pytest.mark.parametrize(("variant", "can"), [("efficientnet-small", True), ("resnet-50", False)])
def test_levels_ask_for_what_the_model_can_do(variant, can):
    choices = [choice for level in levels(supervised(variant=variant), 4) for choice in level]
    assert {choice["scan_blocks"] for choice in choices} == {can}
    assert {choice["remat"] for choice in choices} == ({False, True} if can else {False})
    assert {choice["shard_state"] for choice in choices} == {1, 4}
