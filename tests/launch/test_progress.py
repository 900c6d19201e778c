"""What the launcher makes of progress.json and of the ends of workers."""

import json

from etils import epath

from launch.tpu import progress as module
from launch.tpu.progress import Ended, Failures, Watch, last_lines, position, verdict
from ns_jax.progress_file import begin_stage, progress_file, report_steps


def test_it_reads_what_a_run_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("ns_jax.progress_file.EVERY_SECONDS", 0)
    monkeypatch.setattr("ns_jax.progress_file.AT_LEAST_SECONDS", 0)
    path, seen = tmp_path / "progress.json", []
    with progress_file(epath.Path(path)):
        for stage in ("label", "train"):
            begin_stage(stage)
            for step in (1, 20):
                report_steps(step, 20, "steps")
                seen.append(position(path.read_text()))
    assert seen == sorted(set(seen)) == [(1, 1), (1, 20), (2, 1), (2, 20)]
    for text in ("", "[]", "{}", '{"stages_begun": null, "done": 1}', path.read_text()[:20]):
        assert position(text) == (0, 0)


def test_failures_without_progress_are_counted():
    failures = Failures(most=3, furthest=(1, 50))
    assert not failures.add((1, 60)) and not failures.add((1, 70))  # with progress
    assert not failures.add((1, 70)) and failures.count == 2
    assert failures.add((1, 65))  # a start from an older checkpoint is not further
    assert failures.count == 3
    assert Failures(3, (0, 0)).add((0, 0), by_user=True)
    assert not Failures(3, (0, 0)).add((1, 0), by_user=True)  # an error of the user's, after hours of work
    assert Failures(1, (0, 0)).add((1, 0))


def test_the_watch(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    watch, text = Watch(), lambda done: json.dumps({"stages_begun": 1, "done": done})
    watch.look(text(5))
    now[0] = 240
    watch.look(text(5))
    assert watch.quiet_minutes() == 4 and not watch.is_due(5)
    now[0] = 300
    assert watch.is_due(5) and not watch.is_due(5)
    watch.look(text(3))  # as after a restart: a change, if not further
    assert watch.quiet_minutes() == 0 and watch.furthest == (1, 5)
    now[0] = 599
    assert not watch.is_due(5)
    now[0] = 600
    assert watch.is_due(5)


def test_verdicts():
    assert verdict([]) == verdict(["0", "running"]) == "running"
    assert verdict(["0", "0"]) == "done"
    assert verdict(["0", "1", "running"]) == "failed"
    assert verdict(["1", "143"]) == verdict(["gone", "running"]) == "interrupted"
    assert verdict(["1", "stopped"]) == "stopped"


def test_the_lines_of_those_that_failed_come_first():
    ended = [Ended(f"w{number}", "stopped", (f"w{number}: waits",)) for number in range(9)]
    ended.append(Ended("w9", "1", ("w9: it went wrong",)))
    assert last_lines(ended).splitlines() == ["w9: it went wrong", "w0: waits", "w1: waits", "w2: waits"]
