"""The suites from end to end, on generated images in the official layouts."""

import collections
import json
import subprocess
import time

import jax
import numpy as np
import pytest

import ns_jax
from ns_jax.artifact.class_names import wordnet_ids
from ns_jax.artifact.metadata import network_of
from ns_jax.data.examples import AllBut
from ns_jax.data.sources.registry import open_source
from ns_jax.errors import Stopped, UserError
from ns_jax.evaluators import corruptions
from ns_jax.evaluators.own_classes import published_subsets
from ns_jax.evaluators.parts import IncompleteError, Parts, measure
from ns_jax.evaluators.registry import EVALUATIONS
from ns_jax.evaluators.suites import imagenet, robustness, with_defaults
from ns_jax.files import read_json, write_json
from ns_jax.inference.model import read
from ns_jax.inference.predictor import Predictor
from ns_jax.parallel.mesh import make_mesh
from ns_jax.run.settings import test_view as view_of
from tests import command, hosts
from tests.evaluators.imagenet import FRAMES, write_image, write_model, write_sets
from tests.tiny_model import TINY

FEW = (("snow", "fog"), (1, 2))  # corruptions and severities


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With `model` and `sets`, of which ImageNet-C has few corruptions."""
    folder = tmp_path_factory.mktemp("imagenet")
    write_model(folder / "model")
    write_sets(folder / "sets", *FEW)
    return folder


def open_predictor(folder, devices=1, batch_size=8):
    artifact = read(str(folder / "model"), TINY)
    network = network_of(artifact.metadata)
    mesh = make_mesh(devices=jax.devices()[:devices])
    return Predictor(artifact, network, view_of(network.inputs), mesh, batch_size)


@pytest.fixture(scope="module")
def predictor(folder):
    return open_predictor(folder)


@pytest.fixture
def few_corruptions(monkeypatch):
    monkeypatch.setattr(corruptions, "CORRUPTIONS", FEW[0])
    monkeypatch.setattr(corruptions, "SEVERITIES", FEW[1])


def run(predictor, options, parts_folder=None, about=()):
    source = open_source(options["data"])
    parts = Parts(parts_folder, {"model": "m", "test": source.name, **dict(about)})
    return measure(EVALUATIONS.get(options["type"]), predictor, source, AllBut(source.count), options, parts)


def answers(model, paths, only=None):
    """The best class of each file by another way than the evaluations take, among the places `only`."""
    logits = model.logits(np.stack([model.preprocess(path) for path in paths]))
    if only is None:
        return logits.argmax(1)
    return np.array(only)[logits[:, list(only)].argmax(1)]


def test_every_set_counts_every_image_once(folder, predictor, few_corruptions):
    suite = with_defaults(imagenet(str(folder / "sets"), predictor.view, ""))
    assert set(suite) == {
        "imagenet", "real", "v2", "sketch", "imagenet_a", "imagenet_r", "imagenet_c_224", "imagenet_p_224", "fgsm",
        "pgd", "calibration", "selective",
    }  # fmt: skip
    model, names = ns_jax.load(folder / "model", variant=TINY), wordnet_ids()
    rights = {}
    for name, official, only in (
        ("imagenet", "val", None),
        ("v2", "imagenetv2-matched-frequency-format-val", None),
        ("sketch", "sketch", None),
        ("imagenet_a", "imagenet-a", published_subsets()["imagenet_a"]),
        ("imagenet_r", "imagenet-r", published_subsets()["imagenet_r"]),
    ):
        result = run(predictor, suite[name])
        files = sorted((folder / "sets" / official).glob("*/*.png"))
        labels = [
            int(file.parent.name) if name == "v2" else names.index(file.parent.name) for file in files
        ]  # by WordNet id, but for V2's numbers
        assert (result["count"], result["correct"]) == (4, int((answers(model, files, only) == labels).sum()))
        rights[name] = result["correct"]
    assert 0 < sum(rights.values()) < 20
    files = sorted((folder / "sets" / "val").glob("*/*.png"), key=lambda file: file.name)
    right = [
        answer in allowed for answer, allowed in zip(answers(model, files), ([0, 1], [0], [], [1, 5]), strict=True)
    ]
    real = run(predictor, suite["real"])
    assert (real["count"], real["correct"]) == (3, sum(right))
    corrupted = run(predictor, suite["imagenet_c_224"] | {"baseline": ""})
    assert corrupted["count"] == 8
    files = sorted((folder / "sets" / "imagenet-c" / "snow" / "2").glob("*/*.png"), key=lambda file: file.parent.name)
    assert corrupted["errors"]["snow"][1] == (answers(model, files) != [0, 1]).mean()
    perturbed = run(predictor, suite["imagenet_p_224"])
    assert perturbed["count"] == 20 and perturbed["skipped_sequences"] == 0
    frames = [
        folder / "sets" / "imagenet-p" / "rotate" / names[place] / "sequence" / f"{frame}.png"
        for place in (0, 1)
        for frame in range(FRAMES)
    ]
    by_hand = answers(model, frames).reshape(2, FRAMES)
    assert perturbed["flips"]["rotate"] == (by_hand[:, 1:] != by_hand[:, :-1]).mean()
    assert 0 < perturbed["mean_flips"] < 1 and perturbed["mfr"] > 0


def test_attacks(folder, predictor):
    suite = with_defaults(robustness(f"folder:{folder / 'sets' / 'val'}", predictor.view, ""))
    clean, fgsm = run(predictor, suite["clean"]), run(predictor, suite["fgsm"])
    pgd = run(predictor, suite["pgd"] | {"epsilons": (4,), "random_start": True, "restarts": 2})
    assert fgsm["correct_at"][0] == pgd["correct_at"][0] == clean["correct"]
    assert fgsm["epsilons"] == [0, 2, 4, 8, 16] and fgsm["epsilon_0"] == clean["top1"]
    with pytest.raises(UserError, match="restarts=2 without random_start"):
        run(predictor, suite["pgd"] | {"restarts": 2})


def test_an_interrupted_evaluation_goes_on(folder, predictor, few_corruptions, tmp_path, monkeypatch):
    options = with_defaults(imagenet(str(folder / "sets"), predictor.view, ""))["imagenet_c_224"] | {"baseline": ""}
    calls = collections.Counter()
    original = corruptions.count_right

    def stop_at_the_third(*arguments):
        calls["run"] += 1
        if calls["run"] == 3:
            raise Stopped("stopped by SIGTERM")
        return original(*arguments)

    monkeypatch.setattr(corruptions, "count_right", stop_at_the_third)
    with pytest.raises(Stopped):
        run(predictor, options, tmp_path / "parts")
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["snow-1.json", "snow-2.json"]
    result = run(predictor, options, tmp_path / "parts")
    assert calls["run"] == 5  # two, one that was stopped, and the other two
    assert result == run(predictor, options)
    part = read_json(tmp_path / "parts" / "fog-2.json")
    assert part["part"] == "fog/2" and part["model"] == "m" and part["count"] == 2 and part["seconds"] >= 0
    with pytest.raises(UserError, match="is of another model"):
        run(predictor, options, tmp_path / "parts", {"model": "other"})


def test_what_is_missing_is_listed_and_the_rest_measured(folder, predictor, tmp_path):
    options = with_defaults(imagenet(str(folder / "sets"), predictor.view, ""))["imagenet_c_224"]
    with pytest.raises(
        IncompleteError, match=r"lacks 71 of 75 corruptions and severities, gaussian_noise/1, .*, \.\.\."
    ):
        run(predictor, options, tmp_path / "parts")
    assert len(list((tmp_path / "parts").iterdir())) == 4


def test_other_sets_are_refused(folder, predictor, tmp_path):
    val = f"folder:{folder / 'sets' / 'val'}"
    with pytest.raises(UserError, match="has no parts, and this evaluation needs"):
        run(predictor, {"type": "corruptions", "data": val, "baseline": ""})
    with pytest.raises(UserError, match="has the parts snow, fog, and"):
        run(
            predictor, {"type": "perturbations", "data": f"imagenet_c:{folder / 'sets' / 'imagenet-c'}", "baseline": ""}
        )
    write_image(tmp_path / "val" / "n00000000" / "a.png", 0)
    with pytest.raises(UserError, match="the class 'n00000000', which is none of the 1000"):
        run(predictor, {"type": "classification", "data": f"folder:{tmp_path / 'val'}", "classes": ()})
    with pytest.raises(UserError, match="none of ImageNet's sets is in it"):
        imagenet(str(tmp_path / "empty"), predictor.view, "")


def test_a_baseline_of_ones_own(folder, predictor, few_corruptions, tmp_path):
    options = with_defaults(imagenet(str(folder / "sets"), predictor.view, ""))["imagenet_c_224"]
    source = open_source(options["data"])
    errors = {"fog": [0.5, 0.5], "snow": [1.0, 0.5]}
    write_json(tmp_path / "teacher.json", {"errors": errors, "test": source.name})
    result = run(predictor, options | {"baseline": str(tmp_path / "teacher.json")})
    want = 100 * np.mean([sum(result["errors"][name]) / sum(errors[name]) for name in errors])
    assert result["mce"] == pytest.approx(want) and result["baseline"].endswith("teacher.json")
    for content, words in (
        ({"errors": errors, "test": "other"}, "is of other, and this evaluation of imagenet_c"),
        ({"top1": 0.5}, "has no errors: name the result of the same evaluation"),
        ({"errors": errors | {"fog": [0.0, 0.0]}, "test": source.name}, "the baseline's error of fog is zero"),
    ):
        write_json(tmp_path / "bad.json", content)
        with pytest.raises(UserError, match=words):
            run(predictor, options | {"baseline": str(tmp_path / "bad.json")})
    with pytest.raises(UserError, match="there is no such file"):
        run(predictor, options | {"baseline": "nowhere.json"})


def numbers(folder, predictor) -> dict:
    """What must not depend on devices: corruptions, sequences on the fly, and attacks with random starts."""
    suite = with_defaults(robustness(f"folder:{folder / 'sets' / 'val'}", predictor.view, ""))
    suite |= with_defaults(imagenet(str(folder / "sets"), predictor.view, ""))
    attack = suite["pgd"] | {"epsilons": (8,), "steps": 2, "random_start": True}
    return {
        "c": run(predictor, suite["imagenet_c_224"] | {"baseline": ""}),
        "p": run(predictor, suite["imagenet_p_224"]),
        "pgd": run(predictor, attack),
        "selective": run(predictor, suite["selective"]),
    }


@pytest.mark.slow  # three compilations of everything
def test_devices_do_not_matter(folder, predictor, few_corruptions):
    alone = numbers(folder, predictor)
    for devices in (2, 8):
        assert numbers(folder, open_predictor(folder, devices)) == alone


def evaluate(folder, out, *more, **known):
    return command.run_module(
        "evaluate", f"--model={folder / 'model'}", f"--variant={TINY}", f"--out={out}", *more,
        env=command.quick_environment(), **known,
    )  # fmt: skip


def test_the_command(folder, tmp_path):
    """An unreadable image is named, the rest measured, and the exit code is 1; a second time nothing is computed."""
    images = tmp_path / "images"
    for name in wordnet_ids()[:2]:
        write_image(images / name / "a.png", 1)
    (images / wordnet_ids()[0] / "broken.png").write_bytes(b"no image")
    flags = (f"--data=folder:{images}", "--batch_size=8", "--only=clean,fgsm,selective")
    process = evaluate(folder, tmp_path / "out", *flags)
    assert process.returncode == 1, process.stderr
    assert "error: clean: 1 images of folder:" in process.stderr and "cannot be read" in process.stderr
    assert "clean top-1" in process.stdout and "fgsm: epsilon_0" in process.stdout
    result = read_json(tmp_path / "out" / "fgsm.json")
    assert result["count"] == 2 and result["skipped"] == 1 and len(result["model"]) == 64 and result["seconds"] > 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}
    assert evaluate(folder, tmp_path / "out", *flags).returncode == 1
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}
    process = evaluate(folder, tmp_path / "out", *flags[:2], "--only=fog")
    command.assert_one_line_error(process, "--only=fog: the suite has clean, calibration")


@pytest.mark.slow  # three processes, of which one is killed
def test_a_killed_command_goes_on(folder, tmp_path):
    """SIGKILL between two parts: the rest is measured, what was there is kept, and the numbers are the same."""
    flags = (f"--data={folder / 'sets'}", "--suite=imagenet", "--batch_size=8", "--only=imagenet_p_224,fgsm,imagenet")
    assert evaluate(folder, tmp_path / "whole", *flags).returncode == 0
    out = tmp_path / "killed"
    arguments = [f"--model={folder / 'model'}", f"--variant={TINY}", f"--out={out}", *flags]
    process = subprocess.Popen(
        [command.sys.executable, "-m", "ns_jax.evaluate", *arguments], cwd=command.REPO, env=command.quick_environment()
    )
    parts = out / "imagenet_p_224.parts"
    try:
        while len(list(parts.glob("*.json"))) < 2:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert not (out / "imagenet_p_224.json").exists()
    finished = {path: path.read_bytes() for path in parts.glob("*.json")}
    process = evaluate(folder, out, *flags)
    assert process.returncode == 0, process.stderr
    assert finished == {path: path.read_bytes() for path in finished}
    for name in ("imagenet_p_224", "fgsm", "imagenet"):
        whole, killed = (read_json(side / f"{name}.json") for side in (tmp_path / "whole", out))
        assert {**whole, "seconds": 0} == {**killed, "seconds": 0}


def numbers_alone(result: dict) -> dict:
    return {key: value for key, value in result.items() if isinstance(value, int | float)}


@pytest.mark.slow
def test_the_whole_suite_on_any_images(folder, tmp_path):
    """Every corruption and perturbation of four images, on one process and on two, which share them."""
    data = f"--data=folder:{folder / 'sets' / 'val'}"
    process = evaluate(folder, tmp_path / "one", data, "--batch_size=8")
    assert process.returncode == 0, process.stderr
    flags = [
        "-m", "ns_jax.evaluate", f"--model={folder / 'model'}", f"--variant={TINY}", data, "--batch_size=8",
        f"--out={tmp_path / 'two'}",
    ]  # fmt: skip
    commands = [[command.sys.executable, *flags]] * 2
    with hosts.started(commands, 2, tmp_path / "logs") as processes:
        codes = hosts.wait_all(processes, 500)
    assert codes == [0, 0], (tmp_path / "logs" / "1.txt").read_text()
    names = sorted(path.name for path in (tmp_path / "one").glob("*.json"))
    assert len(names) == 7
    for name in names:
        first, second = (json.loads((tmp_path / side / name).read_text()) for side in ("one", "two"))
        for result in (first, second):
            result.pop("seconds")
        if name in (
            "clean.json",
            "calibration.json",
        ):  # of probabilities, which batches of another size round otherwise
            first, second = (numbers_alone(result) for result in (first, second))
            assert first == pytest.approx(second, rel=1e-5), name
        else:  # of answers
            assert first == second, name
    assert read_json(tmp_path / "one" / "corruptions.json")["count"] == 75 * 4
