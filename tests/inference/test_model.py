"""ns_jax.load, predict and convert, as a user calls them."""

import csv
import http.server
import json
import os
import subprocess
import sys
import threading
import warnings

import jax
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from etils import epath

import ns_jax
from ns_jax import predict
from ns_jax.checkpoint import Checkpoints
from ns_jax.data.preprocess import clean_image
from ns_jax.errors import UserError
from ns_jax.files import write_bytes
from ns_jax.inference.model import Model, read
from ns_jax.interop import formats
from ns_jax.interop.adapt import adapt
from ns_jax.interop.foreign import to_foreign
from ns_jax.training.state import TrainState
from tests import command as command_line
from tests.conftest import REPO
from tests.data.test_sources import write_image
from tests.interop.weights import random_artifact

SMALL = "efficientnet-small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of the small variant with seven classes."""
    path = epath.Path(tmp_path_factory.mktemp("model") / "model")
    formats.write(path, random_artifact(SMALL, 7), "artifact")
    return path


@pytest.fixture(scope="module")
def model(folder):
    return ns_jax.load(folder)


def some_images(count: int, size: int = 28):
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_what_it_says(model):
    assert (model.variant.name, model.num_classes, model.resolution) == (SMALL, 7, 28)


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_any_batch_size(model, count):
    images = some_images(count)
    logits = model.logits(images)
    assert logits.shape == (count, 7) and logits.dtype == np.float32
    some = [i for i in range(count) if i < 3 or i == count - 1]  # the last one of 40 is of a second batch
    alone = [model.logits(images[i : i + 1])[0] for i in some]
    np.testing.assert_allclose(logits[some], np.array(alone).reshape(-1, 7), rtol=1e-4, atol=1e-5)


def test_float_and_uint8_are_on_one_scale(model):
    images = some_images(2)
    np.testing.assert_allclose(model.logits(images.astype(np.float32)), model.logits(images), rtol=1e-4, atol=1e-5)
    with pytest.warns(UserWarning, match=r"0\.\.255 scale, and these go from 0 to 1:"):
        model.logits(images / 255)
    with pytest.raises(UserError, match=r"\[N, height, width, 3\]"):
        model.logits(images[0])
    with pytest.raises(UserError, match="must all have the same shape"):
        model.logits([some_images(1, 28)[0], some_images(1, 30)[0]])


def test_one_warning_that_names_the_caller(model):
    for call in (model.logits, model.features):
        with pytest.warns(UserWarning) as warned:
            call(some_images(2) / 255)
        assert [one.filename for one in warned] == [__file__]


def test_dark_images_are_no_reason_to_warn(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(np.ones((1, 28, 28, 3), np.uint8))


def test_another_size_is_computed_with_a_warning(model):
    with pytest.warns(UserWarning, match="32 x 32 px for a model of 28 px"):
        assert model.logits(some_images(1, 32)).shape == (1, 7)


def test_features(model):
    assert model.features(some_images(2)).shape == (2, 256)
    assert model.features(some_images(2), "reduction_2").shape == (2, 7, 7, 24)
    with pytest.raises(UserError, match="reduction_1"):
        model.features(some_images(2), "reduction_9")


def test_predict_takes_files_and_arrays(model, tmp_path):
    write_image(tmp_path / "a.png", 3)
    array = some_images(1, 50)[0]
    first, second = model.predict([tmp_path / "a.png", array], top=3)
    assert [len(first), len(second)] == [3, 3]
    want = model.logits(np.asarray(clean_image(array, 28, 0))[None])[0]
    probs = np.exp(want) / np.exp(want).sum()
    assert [p.index for p in second] == np.argsort(-probs)[:3].tolist()
    assert [p.name for p in second] == [str(p.index) for p in second]
    np.testing.assert_allclose([p.probability for p in second], np.sort(probs)[::-1][:3], rtol=1e-4)
    every = model.predict(str(tmp_path / "a.png"), top=100)[0]
    assert len(every) == 7 and [p.index for p in every[:3]] == [p.index for p in first]
    with pytest.raises(UserError, match=r"missing\.png: no such file"):
        model.predict(tmp_path / "missing.png")
    with pytest.raises(UserError, match="top=-1"):
        model.predict(array, top=-1)


def test_predict_takes_any_iterable_in_batches(model):
    images = some_images(40, 50)
    found = model.predict((image for image in images), top=2)
    assert len(found) == 40 and found == model.predict(list(images), top=2) == model.predict(images, top=2)
    assert found[39][0].index == model.predict(images[39])[0][0].index
    assert model.predict(iter([])) == []


def test_errors_stand_where_the_images_are(model, tmp_path):
    image = some_images(1)[0]
    found = list(model.predict_each([image, tmp_path / "missing.png", image], top=1))
    assert found[0] == found[2] and isinstance(found[1], UserError)
    (with_others,), ((alone,),) = found[0], model.predict(image, top=1)
    assert with_others.index == alone.index and np.isclose(with_others.probability, alone.probability, rtol=1e-5)


def test_another_number_of_classes(folder, model):
    other = ns_jax.load(folder, num_classes=3, class_names=["cat", "dog", "eel"])
    assert other.logits(some_images(1)).shape == (1, 3) and other.class_names[2] == "eel"
    np.testing.assert_array_equal(other.features(some_images(2)), model.features(some_images(2)))
    with pytest.raises(UserError, match="2 class names for 7 classes"):
        ns_jax.load(folder, class_names=["cat", "dog"])
    for wrong in ({"num_classes": 0}, {"num_classes": -1}, {"resolution": 0}):
        with pytest.raises(UserError, match="must be at least 1"):
            ns_jax.load(folder, **wrong)


def test_a_fresh_classifier_has_its_own_models_initialisation():
    fresh = adapt(random_artifact("resnet-50", 5), num_classes=3).variables["params"]["classifier"]
    assert 0.008 < fresh["kernel"].std() < 0.012


def state_of(artifact, step: int) -> TrainState:
    variables = artifact.variables
    return jax.device_put(TrainState(np.int32(step), {}, {}, {}, variables["params"], variables["batch_stats"]))


def test_checkpoints_say_which_model_they_are_of(tmp_path):
    one, two = (random_artifact("efficientnet-b0-svhn", 3, seed) for seed in (1, 2))
    card = one.card | {"resolution": 40, "class_names": ["cat", "dog", "eel"]}
    checkpoints = Checkpoints(epath.Path(tmp_path / "checkpoints"), keep=2, model=card)
    for step, artifact in ((6, one), (9, two)):
        checkpoints.save(state_of(artifact, step), step)
    checkpoints.wait()
    for path, steps, want in (
        ("checkpoints", 9, two),
        ("checkpoints/9", 9, two),
        ("checkpoints/6", 6, one),
        ("", 9, two),
    ):
        found = read(tmp_path / path)
        for field in ("variant", "resolution", "class_names", "crop_padding", "mean", "std"):
            assert np.array_equal(found.card[field], card[field]), field
        assert found.card["steps"] == steps
        jax.tree.map(np.testing.assert_array_equal, found.variables, want.variables)
    with pytest.raises(UserError, match="is efficientnet-b0-svhn, not efficientnet-b0"):
        read(tmp_path / "checkpoints", "efficientnet-b0")


def test_checkpoint_without_a_card(tmp_path):
    checkpoints = Checkpoints(epath.Path(tmp_path), keep=1)
    checkpoints.save(state_of(random_artifact(SMALL, 3), 1), 1)
    checkpoints.wait()
    with pytest.raises(UserError, match="does not say which model"):
        read(tmp_path)


def test_imagenet_names():
    artifact = random_artifact("efficientnet-b0")
    best = Model(artifact).top_classes(np.eye(1000, dtype=np.float32)[[0, 999]] * 9, 1)
    assert [row[0].name for row in best] == ["tench, Tinca tinca", "toilet tissue, toilet paper, bathroom tissue"]


def test_weights_that_do_not_fit_their_card(folder, tmp_path):
    card = json.loads((folder / "model.json").read_text()) | {"class_names": ["a", "b"]}
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    with pytest.raises(UserError) as error:
        ns_jax.load(tmp_path)
    assert "with 2 classes" in str(error.value) and "params/classifier/bias is (7,), not (2,)" in str(error.value)


def command(module: str, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"ns_jax.{module}", *map(str, arguments)],
        cwd=REPO,
        env=command_line.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_predict_answers_the_rest_of_a_folder(folder, tmp_path):
    images = tmp_path / "images"
    for i, name in enumerate(("a.jpg", "sub/b.png", "c.jpg")):
        write_image(images / name, i)
    (images / "c.jpg").write_bytes((images / "c.jpg").read_bytes()[:-40])
    (images / "notes.txt").write_text("not an image, and not asked for")
    (tmp_path / "text.jpg").write_text("not an image")
    process = command(
        "predict",
        f"--model={folder}",
        "--top=2",
        f"--json={tmp_path / 'out.json'}",
        f"--csv={tmp_path / 'out.csv'}",
        images,
        tmp_path / "text.jpg",
    )
    assert process.returncode == 1, process.stderr
    assert f"{images}: left out 1 that do not end in .jpg" in process.stderr
    assert "c.jpg: not a whole" in process.stderr and "text.jpg: not a whole" in process.stderr
    assert "2 of 4 images could not be read" in process.stderr and "notes.txt" not in process.stderr
    answers = json.loads((tmp_path / "out.json").read_text())
    assert [epath.Path(name).name for name in answers] == ["a.jpg", "b.png"]
    assert all(len(rows) == 2 and rows[0]["probability"] >= rows[1]["probability"] for rows in answers.values())
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert len(rows) == 4 and [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert process.stdout.count("%") == 4


def test_predict_takes_names_of_any_bytes_once(folder, tmp_path):
    write_image(tmp_path / "a.png", 1)
    odd = os.fsdecode(b"caf\xe9.png")
    (tmp_path / odd).write_bytes((tmp_path / "a.png").read_bytes())
    process = command(
        "predict",
        f"--model={folder}",
        "--top=1",
        f"--json={tmp_path / 'out.json'}",
        f"--csv={tmp_path / 'out.csv'}",
        tmp_path / "a.png",
        tmp_path,
        tmp_path / "a.png",
    )
    assert process.returncode == 0, process.stderr
    assert "caf\\udce9.png" in process.stdout and process.stdout.count("a.png") == 1
    assert list(json.loads((tmp_path / "out.json").read_text())) == [str(tmp_path / "a.png"), str(tmp_path / odd)]
    assert (tmp_path / "out.csv").read_bytes().count(b"caf\xe9.png") == 1


def test_predict_finds_what_it_cannot_write_before_it_works(tmp_path):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "folder").mkdir()
    for output in (f"--json={tmp_path / 'folder'}", f"--csv={tmp_path / 'a.png' / 'out.csv'}"):
        process = command("predict", "--model=no/such/model", output, tmp_path / "a.png")
        assert process.returncode == 2 and "Traceback" not in process.stderr
        assert "a directory" in process.stderr and "no/such/model" not in process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "folder"}


def test_image_files_of_a_folder(tmp_path, monkeypatch, capsys):
    for name in ("in/b.png", "in/c.webp", "elsewhere/d.png", "elsewhere/notes.txt"):
        write_image(tmp_path / name, 1) if name.endswith("png") else (tmp_path / name).write_text("")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    found = predict.image_files([str(tmp_path / "in"), str(tmp_path / "in/b.png")])
    assert found == [str(tmp_path / "in/b.png"), str(tmp_path / "in/link/d.png")]
    assert f"{tmp_path / 'in'}: left out 2 that" in capsys.readouterr().err
    real = os.scandir

    def scandir(path):
        if str(path).endswith("link"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="link"):
        predict.image_files([str(tmp_path / "in")])


def test_what_is_wrong_with_a_file(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="not a file"):
        clean_image(tmp_path, 28, 0)

    def no_permission(_):
        raise tf.errors.PermissionDeniedError(None, None, "Permission denied")

    monkeypatch.setattr(tf.io, "read_file", no_permission)
    with pytest.raises(UserError, match=r"a\.png: no permission"):
        clean_image(tmp_path / "a.png", 28, 0)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_bytes(epath.Path(tmp_path / "folder"), b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_convert_touches_nothing_of_others(folder, tmp_path):
    (tmp_path / "unchecked-mine.npz").mkdir()
    (tmp_path / "unchecked-mine.npz" / "notes.txt").write_text("precious")
    process = command("convert", f"--from={folder}", f"--to={tmp_path / 'mine.npz'}")
    assert process.returncode == 2 and "unchecked-mine.npz exists" in process.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["unchecked-mine.npz", "notes.txt"]


def test_convert_says_what_is_wrong_in_a_line(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for source, target, names, words in (
        ("no/such/model", "x.pth", "", "is not written, only artifact"),  # found before the model is looked for
        (folder, "notes.txt/z.npz", "", "Not a directory"),
        (folder, "x", "missing.txt", "missing.txt"),
        (folder, "x", "latin.txt", "latin.txt is not a text file in UTF-8"),
    ):
        process = command(
            "convert",
            f"--from={source}",
            f"--to={tmp_path / target}",
            *([f"--class_names={tmp_path / names}"] if names else []),
        )
        command_line.assert_one_line_error(process, words)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "latin.txt"}


def test_convert(folder, tmp_path):
    process = command("convert", f"--from={folder}", f"--to={tmp_path / 'out.safetensors'}")
    assert process.returncode == 0 and "same bits" in process.stdout, process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"out.safetensors"}
    again = command("convert", f"--from={folder}", f"--to={tmp_path / 'out.safetensors'}")
    assert again.returncode == 2 and "nothing is overwritten" in again.stderr
    names = tmp_path / "names.txt"
    names.write_text("\n".join("abcdefg"))
    process = command(
        "convert", f"--from={tmp_path / 'out.safetensors'}", f"--to={tmp_path / 'model'}", f"--class_names={names}"
    )
    assert process.returncode == 0, process.stderr
    assert ns_jax.load(tmp_path / "model").class_names == list("abcdefg") and "not in" not in process.stdout
    process = command(
        "convert", f"--from={tmp_path / 'model'}", f"--to={tmp_path / 'tf'}", "--format=tf", "--resolution=32"
    )
    assert process.returncode == 0 and f"not in {tmp_path / 'tf'}: class_names, resolution (" in process.stdout
    unknown = command("convert", f"--from={names}", f"--to={tmp_path / 'x'}")
    assert unknown.returncode == 2 and "is of no known format" in unknown.stderr and "Traceback" not in unknown.stderr


@pytest.fixture
def hub():
    """A server that answers as the Hugging Face hub does, with one repository."""
    config = {
        "architecture": "tf_efficientnet_b0",
        "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "input_size": [3, 224, 224]},
    }
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors.numpy.save(to_foreign(random_artifact("efficientnet-b0", 3), "timm")),
    }
    commit = "0123456789012345678901234567890123456789"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.split("/")[-1].split("?")[0]
            if "/tree/" in self.path:
                body = json.dumps(
                    [
                        {"type": "file", "path": file, "size": len(content), "oid": f"{len(content):040x}"}
                        for file, content in files.items()
                    ]
                ).encode()
            elif self.path.startswith("/api/models/timm/tf_efficientnet_b0.ns_jft_in1k"):
                body = json.dumps(
                    {
                        "id": "timm/tf_efficientnet_b0.ns_jft_in1k",
                        "sha": commit,
                        "siblings": [{"rfilename": file} for file in files],
                    }
                ).encode()
            elif name in files:
                body = files[name]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            for key, value in {
                "Content-Length": len(body),
                "ETag": f'"{len(body):040x}"',
                "X-Repo-Commit": commit,
            }.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_names_of_the_hub(tmp_path, hub):
    code = """
import ns_jax, ns_jax.errors
for name in ("tf_efficientnet_b0.ns_jft_in1k", "tf_efficientnet_b0_ns", "timm/tf_efficientnet_b0"):
    model = ns_jax.load(name)
    print(model.variant.name, model.num_classes, model.resolution)
try:
    ns_jax.load("tf_efficientnet_b1.ns_jft_in1k")
except ns_jax.errors.UserError as error:
    print(error)
"""
    env = command_line.environment() | {
        "HF_ENDPOINT": f"http://localhost:{hub.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env=env, capture_output=True, text=True, timeout=200
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[:3] == ["efficientnet-b0 3 224"] * 3
    assert "timm/tf_efficientnet_b1.ns_jft_in1k" in lines[3] and "is there a network" in lines[3]
