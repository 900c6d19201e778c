"""Which of the ways to make training fit is taken."""

from ns_jax.planning import search as search_module
from ns_jax.planning.search import levels, search
from tests.planning.shapes import GIB, make_estimate, supervised


def test_search_takes_the_cheapest_level_and_its_cheapest_member(monkeypatch):
    """A stand-in compiler: memory halves with recomputation, and the state with its shares."""

    def compiled(program, devices):
        parallel = program
        size = 20 * GIB / (2 if parallel.remat else 1) / parallel.accumulation_steps + 8 * GIB / parallel.shard_state
        tried.append((parallel.remat, parallel.shard_state, parallel.accumulation_steps))
        return make_estimate(fits=size <= limit, memory_total=int(size))

    monkeypatch.setattr(search_module, "estimate", compiled)
    monkeypatch.setattr(
        search_module, "argument_bytes", lambda program, devices: {"state": 8 * GIB // program.shard_state}
    )
    config = supervised(labeled_batch_size=4096)
    found = {}
    for limit in (30 * GIB, 12 * GIB, 6 * GIB, GIB // 100):
        tried = []
        best = search(config, 1024, limit, lambda one: one.parallel, lambda line: None)
        found[limit // GIB] = best and (
            best[0].parallel.remat,
            best[0].parallel.shard_state,
            best[0].parallel.accumulation_steps,
        )
        if limit == 30 * GIB:
            assert tried == [(False, 64, 1), (False, 1, 1)]
    assert found == {30: (False, 1, 1), 12: (True, 4, 1), 6: (True, 16, 2), 0: None}
    assert all(4096 // 1024 % one["accumulation_steps"] == 0 for level in levels(config, 1024) for one in level)
