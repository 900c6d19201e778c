"""The benchmark of the findings: tables of made-up records, and one finding at toy size."""

import json

import pytest
from etils import epath

from benchmarks import findings
from benchmarks.study import records, table
from benchmarks.study.findings import BY_NAME, FINDINGS
from benchmarks.study.models import TEACHER, model_of
from ns_jax.errors import UserError
from ns_jax.experiment.checks import validate
from tests.benchmarks.in_process import write_images
from tests.benchmarks.test_runs import cells as cells_of_table

LABELS = 25


def record(model, seed, row, top1, **more):
    return {
        "key": model.key, "seed": seed, "row": row, "top1": top1, "source": "s", "commit": "c", "labels": LABELS,
        "processor": "p", "seconds": {"train": 36.0}, **more,
    }  # fmt: skip


def made_up(top1_of) -> list[dict]:
    """A record of every model of two seeds; `top1_of` (row, seed) says what the row's last model reached."""
    by_key = {}
    for finding in FINDINGS:
        for row in finding.all_rows:
            for seed in (0, 1):
                chain = model_of(row, seed, LABELS).with_teachers()
                for model in chain[:-1]:
                    by_key.setdefault(model.key, record(model, seed, row, 70.0))
                by_key.setdefault(chain[-1].key, record(chain[-1], seed, row, top1_of(row, seed)))
    return list(by_key.values())


def test_every_row_is_a_config_and_equal_work_is_done_once():
    base = model_of("ablation_noise:noised", 3, LABELS)
    for finding in FINDINGS:
        for row in finding.all_rows:
            model = model_of(row, 3, LABELS)
            for part in model.with_teachers():
                config = part.config.copy_and_resolve_references()
                config.teacher = "x" if part.teacher else ""
                validate(config)
            if row.endswith(TEACHER):
                assert model.teacher is None
            elif "control" not in row and "larger_teacher:larger" not in row and "iterations" not in row:
                assert model.teacher.key == base.teacher.key, row
    same = ("ablation_joint:joint", "ablation_ratio:3", "ablation_amount:1", "ablation_warm_start:scratch_350")
    assert {model_of(row, 3, LABELS).key for row in same} == {base.key}
    assert model_of("ablation_iterations:2", 3, LABELS).teacher.key == base.key
    assert model_of("ablation_noise:noised", 4, LABELS).key != base.key
    assert model_of("ablation_noise:noised", 3, 10).key != base.key


def test_table_of_made_up_records(tmp_path):
    def top1(row, seed):
        if row == "ablation_larger_student:b0_b1":
            return 75.0 + seed / 100
        return 72.0 - 2 * (row == "ablation_noise:no_noise_clean") + seed / 100

    known = made_up(top1)
    hard = model_of("ablation_soft_hard:hard_0.3", 1, LABELS).key
    for entry in known:
        if entry["key"] == hard:
            del entry["top1"]
            entry["failed"] = "UserError: no room"
    others = [dict(known[0], source="t", commit="d"), dict(known[1], key="of another config")]
    study = table.collect([*known, *others], LABELS)
    assert study.source == "s" and study.seeds == (0, 1) and study.num_models == len(known)
    assert study.hours == pytest.approx(len(known) / 100)
    header, *rows = cells_of_table(table.findings_table(study))
    by_title = {(row[0].partition(":")[0], row[1]): row for row in rows}
    larger = by_title["4", "larger, equal"]
    assert larger[2:] == ["+1.6", "+3.00", "+3.00 to +3.00", "agrees"]
    assert by_title["noise", "noised, no noise"][3:] == ["+2.00", "+2.00 to +2.00", "agrees"]
    assert by_title["3", "soft, hard: sure by 0.3"][4:] == ["one seed", "not decided"]
    made = table.text(study)
    assert "ablation_soft_hard:hard_0.3, seed 1: UserError: no room" in made
    assert "1 of commit d (source t)" in made and "1 of commit c, another config" in made
    document = tmp_path / "findings.md"
    document.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write_into(document, made)
    assert document.read_text().startswith("before") and document.read_text().endswith("after\n")
    assert "old" not in document.read_text() and "+2.00 to +2.00" in document.read_text()
    table.draw(study, epath.Path(tmp_path / "findings.png"))
    assert (tmp_path / "findings.png").stat().st_size > 10_000
    with pytest.raises(UserError, match="no records with 10 labels"):
        table.collect(known, 10)


@pytest.mark.parametrize(
    ("values", "interval", "verdict"),
    [
        ((1.0, 2.0, 3.0), (-0.484, 4.484), "not decided"),  # t(0.975, 2) = 4.3027, standard error 0.5774
        ((2.0, 2.1, 2.2), (1.852, 2.348), "agrees"),
        ((-2.0, -2.1, -2.2), (-2.348, -1.852), "disagrees"),
    ],
)
def test_interval_over_seeds(values, interval, verdict):
    difference = table.paired_difference(dict(enumerate(values)), dict.fromkeys(range(5), 0.0))
    assert (difference.low, difference.high) == pytest.approx(interval, abs=1e-3)
    assert table.verdict(difference) == verdict
    assert table.verdict(table.paired_difference({0: 1.0}, {0: 0.0})) == "not decided"


def test_source_hash_sees_code_and_not_comments(tmp_path):
    for part in records.DECIDING:
        place = tmp_path / "ns_jax" / part
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("x = 1\n") if part.endswith(".py") else place.mkdir()
    step = tmp_path / "ns_jax" / "training" / "step.py"
    hashes = []
    for text in (
        "def f():\n    return 1\n",
        'def f():\n    """Gives 1."""\n    return 1  # so\n',
        "def f():\n    return 2\n",
    ):
        step.write_text(text)
        hashes.append(records.source_hash(tmp_path))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow  # a chain of runs, 16 s; tables and records are tested without it
@pytest.mark.usefixtures("quick_compilation")
def test_a_finding_at_toy_size(tmp_path, monkeypatch):
    write_images(tmp_path / "images")

    def shrink(config):
        for name in ("labeled", "unlabeled", "test"):
            if config.data[name]:
                config.data[name] = f"folder:{tmp_path / 'images' / name}"
        config.variant, config.augment = "tests.extending.own_model:TinyConvNetArchitecture", ("pad4",)
        config.labeled_batch_size = config.eval_batch_size = 8
        config.train_epochs, config.warmup_epochs, config.unlabeled_ratio = 2.0, 1.0, min(config.unlabeled_ratio, 1)
        config.min_confidence, config.images_per_class = 0.0, 8
        if config.pseudo_label == "hard":
            config.min_confidence = 0.99  # which no pseudo-label of so short a training reaches

    folder, kept = tmp_path / "models", tmp_path / "results"
    arguments = (folder, [BY_NAME["method"], BY_NAME["3"]], [3], LABELS, kept)
    findings.measure(*arguments, change=shrink)
    known = records.read(kept)
    assert {entry["seed"] for entry in known} == {3} and {entry["source"] for entry in known} == {records.source_hash()}
    study = table.collect(known, LABELS, change=shrink)
    student, teacher = (study.cells[f"ablation_iterations:1{which}"][3] for which in ("", TEACHER))
    assert 0 <= student <= 100 and 0 <= teacher <= 100
    assert "no pseudo-label passes" in study.cells["ablation_domain:digits_hard"][3]
    assert "failed" in table.text(study) and "not run" in table.text(study)
    key = model_of("ablation_iterations:1", 3, LABELS, shrink).key
    assert not (folder / records.source_hash() / key / "checkpoints").exists()
    before = (kept / "seed-3.json").read_text()
    monkeypatch.setattr("benchmarks.study.models.make_plan", lambda *_: pytest.fail("something was trained again"))
    findings.measure(folder, [BY_NAME["method"]], [3], LABELS, kept, change=shrink)
    assert json.loads((kept / "seed-3.json").read_text()) == json.loads(before)
