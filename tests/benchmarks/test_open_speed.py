from benchmarks import open_speed
from ns_jax.data.shards.formats import ArrayRecord


def test_every_step_is_measured(tmp_path, monkeypatch, capsys):
    for name in ("scan", "open_shard", "read"):  # which the benchmark replaces in a process of its own
        monkeypatch.setattr(ArrayRecord, name, getattr(ArrayRecord, name))
    monkeypatch.setattr(open_speed, "ROWS", 2)
    name = open_speed.prepare(tmp_path, 10, 3)
    open_speed.print_opening(str(tmp_path), name)
    *steps, last = capsys.readouterr().out.splitlines()
    titles, seconds, _, _ = zip(*(step.split("|") for step in steps), strict=True)
    assert titles == ("open", "which images can be used", "join", "first batch, global", "first batch, lanes")
    images, copies, looking_up, reading = map(float, last.split())
    assert images == 100_000 and 30_000 < copies < 100_000
    assert min(looking_up, reading, *map(float, seconds)) >= 0 < looking_up
