"""From a store on disk to a selection: every form of store, interruptions, and what reports are made of."""

import dataclasses

import numpy as np
import pytest
from etils import epath

from ns_jax.errors import UserError
from ns_jax.pseudo_labels import chunks, selecting, survey
from ns_jax.pseudo_labels.chunks import check_shard, read_labels
from ns_jax.pseudo_labels.draws import draw_by_id, draw_by_index
from ns_jax.pseudo_labels.joined import Joined
from ns_jax.pseudo_labels.progress import Progress, question
from ns_jax.pseudo_labels.rules import SelectionSettings, apply_rule
from ns_jax.pseudo_labels.selecting import read_samples, write_copies, write_samples
from ns_jax.pseudo_labels.store import LabelStore, Selection, Writing, shard_ranges
from tests.pseudo_labels import reference, version_0_1

COUNT, CLASSES, SEED = 400, 6, 3
IDS = np.array([b"image-%03d" % number for number in range(COUNT)])
RANGES = shard_ranges(COUNT, 30)
LABELED = np.setdiff1d(np.arange(COUNT), [0, 31, 32, 399])
PROBS = np.floor(np.random.default_rng(0).dirichlet(np.full(CLASSES, 0.3), COUNT) * 64).astype(np.float32) / 64  # ties
PROBS[np.arange(COUNT), PROBS.argmax(1)] += 1 - PROBS.sum(1)
SETTINGS = SelectionSettings(min_confidence=0.4, images_per_class=70)
FORMS = ("ids", "identity", "version 0.1")


def source_ids(indices):
    return IDS[indices]


def write_store(folder, form: str) -> LabelStore:
    store = LabelStore(epath.Path(folder), Writing(RANGES, source_ids, form == "ids"))
    counts = []
    for shard, bounds in enumerate(RANGES):
        rows = np.intersect1d(np.arange(*bounds), LABELED)
        write = store.write_labels if form != "version 0.1" else lambda *of: version_0_1.write_labels(store, *of)
        write(shard, IDS[rows], PROBS[rows])
        counts.append(len(rows))
    manifest = {"ranges": [list(bounds) for bounds in RANGES], "counts": counts, "class_names": list("abcdef")}
    store.write_manifest(manifest | ({} if form == "version 0.1" else {"source_identity": "these"}))
    return store


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 70)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_selection_of_its_random_numbers(tmp_path, form, small_chunks):
    store, selection = write_store(tmp_path / "labels", form), Selection(epath.Path(tmp_path) / "selection")
    labels = dataclasses.replace(read_labels(store, SEED, source_ids), threads=2)
    assert len(labels.parts) > 5
    written = write_copies(selection, store, labels, apply_rule("confidence", labels, SETTINGS), 1.0, None)
    label, confidence = PROBS.argmax(1)[LABELED], PROBS.max(1)[LABELED]
    random = draw_by_index(LABELED, SEED) if form == "identity" else draw_by_id(IDS[LABELED], SEED)
    expected = reference.filter_and_balance(label, confidence, random, [70] * CLASSES, SETTINGS)
    selection.write_manifest({"copies": int(written.copies)})
    joined = Joined(store, selection, source_ids, "these")
    images = np.concatenate(
        [
            np.repeat(start + (np.arange(len(copies)) if places is None else places), copies)
            for shard, (start, _) in enumerate(RANGES)
            for copies, places in [joined.rows(shard)]
        ]
    )
    np.testing.assert_array_equal(images, np.repeat(LABELED, expected))
    assert written.copies == expected.sum() and written.kept == (expected > 0).sum()
    np.testing.assert_array_equal(written.per_class, np.bincount(label, expected, CLASSES))
    np.testing.assert_array_equal(labels.read_ids(), IDS[LABELED])


@pytest.mark.parametrize("form", ["ids", "version 0.1"])
def test_a_rule_of_ones_own_sees_everything_in_memory(tmp_path, form, small_chunks):
    labels = read_labels(write_store(tmp_path, form), SEED, source_ids)
    choose = apply_rule(f"{__name__}:mirror", labels, SETTINGS)
    copies = np.concatenate(list(labels.map(choose)))
    rounded = PROBS[LABELED].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(copies, (100 * rounded.max(1)).astype(np.uint32))


def mirror(labels, settings):
    assert labels.label.dtype == np.int32 and labels.num_classes == CLASSES
    np.testing.assert_array_equal(labels.ids, IDS[LABELED])
    np.testing.assert_array_equal(labels.random, draw_by_id(IDS[LABELED], SEED))
    for _ in range(2):  # every call begins a pass of its own
        parts = list(labels.probabilities())
        assert len(parts) == len(RANGES) and parts[0].dtype == np.float32
    return (100 * np.concatenate(parts).max(1)).astype(np.uint32)


def test_an_interrupted_selection_goes_on(tmp_path, small_chunks, monkeypatch):
    """It neither searches again nor writes again what was written, and ends with the same files."""
    monkeypatch.setattr(selecting, "KEPT_EVERY", -1.0)
    store, path = write_store(tmp_path / "labels", "identity"), epath.Path(tmp_path) / "progress.npz"

    def select(name: str, most: int, passes: list) -> Selection:
        selection = Selection(epath.Path(tmp_path) / name)
        labels = read_labels(store, SEED, progress=Progress(path, question(settings=1)))
        counted = dataclasses.replace(
            labels, parts=[lambda read=read: passes.append(1) or read() for read in labels.parts]
        )
        choose, calls = apply_rule("confidence", counted, SETTINGS), []

        def choose_some(chunk):
            calls.append(chunk)
            if len(calls) > most:
                raise KeyboardInterrupt
            return choose(chunk)

        write_copies(selection, store, counted, choose_some, 0.5, counted.progress)
        return selection

    undisturbed = select("undisturbed", 100, whole := [])
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        select("killed", 3, [])
    killed = select("killed", 100, after := [])
    assert len(after) == len(read_labels(store, SEED).parts) - 3 and len(whole) > 3 * len(after)
    for shard in range(len(RANGES)):
        assert killed.shard_path(shard).read_bytes() == undisturbed.shard_path(shard).read_bytes()
    # What was found out for another question, or is damaged, is nothing.
    assert Progress(path, question(settings=2)).known("written") is None
    assert Progress(path, question(settings=1)).known("written")["chunks"] > 0
    path.write_bytes(path.read_bytes()[:300])
    assert Progress(path, question(settings=1)).known("written") is None
    Progress(path, "").clear()
    assert not path.exists()


def test_what_a_report_is_made_of(tmp_path, small_chunks, monkeypatch):
    monkeypatch.setattr(survey, "OF_CLASS", 5)
    monkeypatch.setattr(survey, "AT_RANDOM", 37)
    store, selection = write_store(tmp_path / "labels", "identity"), Selection(epath.Path(tmp_path) / "selection")
    label, confidence = PROBS.argmax(1)[LABELED], PROBS.max(1)[LABELED]
    random = draw_by_index(LABELED, SEED) >> np.uint64(32)
    for threads in (1, 3):
        labels = dataclasses.replace(read_labels(store, SEED), threads=threads)
        seen = survey.survey(labels)
        np.testing.assert_array_equal(seen.per_class, np.bincount(label, minlength=CLASSES))
        np.testing.assert_array_equal(seen.histogram, np.histogram(confidence, survey.BINS)[0])
        assert seen.confidence == pytest.approx(confidence.sum(dtype=np.float64))
        for kind, key in (("surest", -confidence), ("least_sure", confidence), ("random_of_class", random)):
            expected = []
            for number in range(CLASSES):
                members = np.flatnonzero(label == number)
                expected += members[np.argsort(key[members], kind="stable")[:5]].tolist()
            np.testing.assert_array_equal(seen.samples[kind]["index"], LABELED[expected], err_msg=kind)
            np.testing.assert_array_equal(seen.samples[kind]["confidence"], confidence[expected])
            np.testing.assert_array_equal(seen.samples[kind]["label"], label[expected])
        np.testing.assert_array_equal(seen.samples["random"]["index"], LABELED[np.argsort(random, kind="stable")[:37]])
    write_samples(selection, seen, store, source_ids)
    for kind, (records, ids) in read_samples(selection).items():
        np.testing.assert_array_equal(records, seen.samples[kind])
        np.testing.assert_array_equal(ids, IDS[records["index"]])
    (selection.folder / "samples.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="samples.npz is damaged .* to select again"):
        read_samples(selection)


def test_shards_are_looked_through_before_they_are_used(tmp_path):
    store = write_store(tmp_path, "identity")
    check_shard(store, 0, store.read_shard(0), CLASSES, 30, None)
    with pytest.raises(UserError, match="shard-00000.npy is damaged .its SHA-256 is not the one in the manifest"):
        check_shard(store, 0, store.read_shard(0), CLASSES, 30, "0" * 64)
    with pytest.raises(UserError, match="has a label that is not in 0 .. 1"):
        check_shard(store, 0, store.read_shard(0), 2, 30, None)
    manifest = store.manifest()
    store.write_manifest(manifest | {"counts": [28, *manifest["counts"][1:]]})
    with pytest.raises(UserError, match="it has 29 pseudo-labels, and the manifest says 28"):
        survey.survey(read_labels(store, SEED))
