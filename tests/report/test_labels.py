"""Pseudo-labels as a table, labels that look wrong, and what to label next."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.evaluators.predictions import Predictions, write_predictions
from ns_jax.fitting import label_next
from ns_jax.pseudo_labels.store import LabelStore
from ns_jax.report import labels
from ns_jax.report.label_issues import confident_joint, label_issues, write_label_issues
from ns_jax.report.label_next import choose
from ns_jax.report.labels import shard_rows, write_labels
from tests.report.made_run import CLASSES, UNLABELED, probabilities


def read_csv(path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_labels_as_csv_and_parquet(made_run, tmp_path):
    report = epath.Path(tmp_path)
    assert write_labels(made_run / "iteration_1", "iteration_1", report) == UNLABELED
    rows, parquet = read_csv(report / "labels.csv"), pyarrow.parquet.read_table(report / "labels.parquet").to_pylist()
    assert list(rows[0]) == list(parquet[0]) == list(labels.COLUMNS)
    store = LabelStore(made_run / "iteration_1" / "labels")
    stored = np.concatenate([store.read_probabilities(shard) for shard in (0, 1)]).astype(np.float64)
    ids = np.concatenate([store.read_shard(shard).ids for shard in (0, 1)])
    for number, (row, same, answer, name) in enumerate(zip(rows, parquet, stored, ids, strict=True)):
        probs = answer / answer.sum()
        assert row["path"] == same["path"] == name.decode()
        assert row["label"] == same["label"] == CLASSES[probs.argmax()]
        assert row["runner_up"] == same["runner_up"] == CLASSES[np.argsort(probs)[-2]]
        assert float(row["confidence"]) == pytest.approx(same["confidence"], rel=1e-5)
        assert same["entropy"] == pytest.approx(-(probs * np.log(probs)).sum(), rel=1e-3)
        assert int(row["copies"]) == same["copies"] == number % 3
        assert row["iteration"] == "iteration_1"


def test_too_many_labels_for_a_table(made_run, tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "MAX_ROWS", UNLABELED - 1)
    assert write_labels(made_run / "iteration_1", "iteration_1", epath.Path(tmp_path)) is None
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    columns = {"path": [labels.os_path(b"a\xff,b.png")], "figure": np.array([0.123456789], np.float32)}
    labels.write_csv(epath.Path(tmp_path) / "x.csv", columns)
    assert (tmp_path / "x.csv").read_bytes() == b'path,figure\n"a\xff,b.png",0.123457\n'
    assert labels.printable(b"a\xff") == "a\\xff"


def test_confident_learning_by_hand():
    """Thresholds are the mean probability of the label: 0.6 of class 0 and 0.683 of class 1."""
    of_class_1 = np.array([0.1, 0.2, 0.9, 0.7, 0.9, 0.45], np.float32)
    probs, given = np.stack([1 - of_class_1, of_class_1], 1), np.array([0, 0, 0, 1, 1, 1])
    assert confident_joint(probs, given).tolist() == [[2, 1], [0, 2]]  # the last is neither
    places, classes, margins = label_issues(probs, given)
    assert (places.tolist(), classes.tolist()) == ([2], [1])
    assert margins == pytest.approx([-0.8])


def test_confident_learning_finds_changed_labels():
    random, truth = np.random.default_rng(0), np.arange(600) % 3
    given = truth.copy()
    changed = random.choice(600, 40, replace=False)
    given[changed] = (given[changed] + 1) % 3
    probs = probabilities(truth, 3.0, 1)
    places, classes, margins = label_issues(probs, given)
    assert len(np.intersect1d(places, changed)) >= 36
    assert set(places[:20]) <= set(changed) and (np.diff(margins) >= 0).all()
    assert (classes[:20] == truth[places[:20]]).all()


def test_label_issues_of_a_run(made_run, tmp_path):
    run = epath.Path(shutil.copytree(made_run, tmp_path / "run"))
    ids, given = np.array([b"a.png", b"b.png", b"c.png", b"d.png"]), np.array([0, 0, 1, 1])
    probs = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.9, 0.0]], np.float32)
    write_predictions(run / "iteration_0" / "out_of_fold.npz", Predictions(ids, given, probs, CLASSES))
    folders = [run / "iteration_0", run / "iteration_1"]
    for folder in folders:
        (folder / "evaluations" / "validation.npz").unlink()
    assert write_label_issues(folders[1:], run / "report") is None
    assert write_label_issues(folders, run / "report") == 1
    (row,) = read_csv(run / "report" / "label_issues.csv")
    assert (row["path"], row["label"], row["looks_like"]) == ("b.png", "cat", CLASSES[1])
    assert (row["iteration"], row["predictions"]) == ("iteration_0", "out_of_fold.npz")
    assert float(row["margin"]) == pytest.approx(-0.7)


def test_choice_is_balanced_over_classes_and_clusters():
    entropy = np.linspace(1, 0, 40)
    label = np.array([0] * 30 + [1] * 8 + [2] * 2)
    cluster = np.arange(40) % 2 * (np.arange(40) < 20)  # the 20 least sure lie in two clusters, the others in one
    chosen = choose(entropy, label, cluster, 9)
    assert np.bincount(label[chosen]).tolist() == [4, 3, 2]
    assert chosen[:3].tolist() == [0, 30, 38]  # the least sure of each class
    assert np.bincount(cluster[chosen[label[chosen] == 0]]).tolist() == [2, 2]
    assert len(choose(entropy, label, np.zeros(40, int), 100)) == 40
    assert choose(entropy, label, np.zeros(40, int), 100).tolist() != list(range(40))


def test_what_to_label_next(made_run, tmp_path, monkeypatch):
    run = epath.Path(shutil.copytree(made_run, tmp_path / "run"))
    features = np.concatenate([np.tile([1.0, 0.0], (30, 1)), np.tile([0.0, 1.0], (30, 1))]).astype(np.float32)
    monkeypatch.setattr(label_next, "pooled_features", lambda model, collected, ids: features)
    assert label_next.label_next(run, 10) == (10, True)
    rows = read_csv(run / "report" / "label_next.csv")
    store, label_of = LabelStore(run / "iteration_1" / "labels"), {}
    for shard in (0, 1):
        columns = store.read_shard(shard)
        label_of |= dict(zip(columns.ids.tolist(), columns["label"].tolist(), strict=True))
    for row in rows:
        assert CLASSES[label_of[row["path"].encode()]] == row["predicted"]
    assert len({row["cluster"] for row in rows}) == 2
    made = (run / "report" / "label_next.html").read_text()
    assert made.count("<img") == 10 and "10 of 60 unlabeled images" in made


def test_without_a_model_classes_alone_count(made_run, tmp_path, capsys):
    run = epath.Path(shutil.copytree(made_run, tmp_path / "run"))
    assert label_next.label_next(run, 5) == (5, False)
    assert "balanced over classes only" in capsys.readouterr().out
    assert "cluster" not in read_csv(run / "report" / "label_next.csv")[0]


def test_nothing_to_choose_from(made_run, tmp_path):
    run = epath.Path(shutil.copytree(made_run, tmp_path / "run"))
    shutil.rmtree(run / "iteration_1" / "labels")
    with pytest.raises(UserError, match="no stored pseudo-labels"):
        label_next.label_next(run)
    with pytest.raises(UserError, match="config.json does not exist"):
        label_next.label_next(tmp_path / "nothing")


def test_rows_are_joined_by_id(made_run):
    first = next(shard_rows(made_run / "iteration_1"))
    assert first["copies"].tolist() == [number % 3 for number in range(40)]
    assert json.dumps(first["id"][0].decode())
