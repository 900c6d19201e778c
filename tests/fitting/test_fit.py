"""Somebody's folders: looked at, planned for, trained on, and what is wrong with them said in one line."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import ns_jax
from ns_jax.configs import own_images
from ns_jax.errors import UserError
from ns_jax.experiment.checks import validate
from ns_jax.fitting import rules, run
from ns_jax.fitting.budget import Costs, Shape
from ns_jax.fitting.look import Seen
from tests import command
from tests.conftest import REPO
from tests.tiny_model import TINY

pytestmark = pytest.mark.usefixtures("quick_compilation")
CLASSES = ("Kreis rund", "Quadrat ß")
QUICK = {
    "variant": TINY, "labeled_batch_size": 16, "eval_batch_size": 16, "train_epochs": 2.0, "warmup_epochs": 0.5,
    "min_images_of_class": 0,
}  # fmt: skip


def draw(path, number: int, side: int = 48) -> None:
    """A bright disc (even numbers) or square on dark noise."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side] - side // 2
    inside = rows**2 + columns**2 < 100 if number % 2 == 0 else np.maximum(abs(rows), abs(columns)) < 9
    image = rng.integers(0, 90, (side, side, 3)) + 140 * inside[..., None]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Names with spaces and umlauts, a class with 5 images and one with 20, files that are broken or no images."""
    folder = tmp_path_factory.mktemp("meine Bilder ü")
    for number, count in enumerate((5, 20)):
        for image in range(count):
            draw(folder / "labeled" / CLASSES[number] / f"bild {image}.png", 2 * image + number)
        for image in range(8):
            draw(folder / "test" / CLASSES[number] / f"{image}.png", 1000 + 2 * image + number)
    for image in range(40):
        draw(folder / "unlabeled" / "2024" / f"ä {image}.png", 5000 + image)
    (folder / "unlabeled" / "notes.txt").write_text("no image")
    (folder / "unlabeled" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "labeled" / CLASSES[0] / "Thumbs.db").write_bytes(b"\0")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_students():
    """One student: a run is two trainings then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "STUDENTS", 1)
        yield


HELD_OUT = QUICK | {"validation_folds": 0, "validation_fraction": 0.25}


@pytest.fixture(scope="module")
def fitted(folders, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "fit"
    parts = [folders / name for name in ("labeled", "unlabeled", "test")]
    return ns_jax.fit(*parts, workdir=workdir, start="", budget="1h", **HELD_OUT)


def test_it_returns_the_run(fitted, folders):
    assert set(fitted.results) == {"iteration_0", "iteration_1"}
    assert all(results["test"]["count"] == 16 for results in fitted.results.values())
    assert fitted.results["iteration_1"]["validation"]["count"] == 7  # of 5 and 20
    assert fitted.choice["iteration"] in ("iteration_0", "iteration_1")
    assert "| iteration_1" in fitted.table and fitted.report.stat().length > 1000
    model = ns_jax.load(fitted.workdir, TINY)
    assert model.metadata["fingerprint"] == fitted.results[fitted.choice["iteration"]]["test"]["model"]
    assert model.class_names == list(CLASSES)
    predicted = model.predict(folders / "test" / CLASSES[0] / "0.png")
    assert {prediction.name for prediction in predicted[0]} == set(CLASSES)


def test_the_plan_is_a_config_of_its_own(fitted):
    saved = json.loads((fitted.workdir / "config.json").read_text())["config"]
    assert saved["class_sampling"] == "balanced"  # 5 and 20
    assert saved["resolution"] == 64 and saved["validation_fraction"] == 0.25 and saved["train_epochs"] == 2.0
    assert saved["chain"]["iteration_1"]["labeled_batch_size"] == 8
    assert saved["data"]["max_broken_fraction"] == 0.05 and saved["head_epochs"] == 0.0


def test_the_same_call_goes_on(fitted, folders, capsys):
    parts = [folders / name for name in ("labeled", "unlabeled", "test")]
    again = ns_jax.fit(*parts, workdir=fitted.workdir, start="", budget="1h", **HELD_OUT)
    said = capsys.readouterr().out
    assert "has a plan: going on with it" in said and "measuring" not in said and "done before" in said
    assert again.results == fitted.results
    with pytest.raises(UserError, match="seed is 0 there and 1 here"):
        ns_jax.fit(*parts, workdir=fitted.workdir, start="", seed=1, **HELD_OUT)


@pytest.mark.slow  # nine trainings
def test_cross_validation_and_a_control(folders, tmp_path):
    parts = [folders / name for name in ("labeled", "unlabeled", "test")]
    fitted = ns_jax.fit(*parts, workdir=tmp_path / "fit", start="", control=True, budget="1h", **QUICK)
    assert set(fitted.results) == {"iteration_0", "iteration_1", "control"}
    assert "validation" not in fitted.results["control"]
    assert fitted.results["iteration_1"]["validation"]["count"] == 25  # each label once
    assert json.loads((fitted.workdir / "config.json").read_text())["config"]["validation_folds"] == 3


def test_python_objects(tmp_path, capsys, monkeypatch):
    """They are looked at, and planned for; the run itself is that of other sources."""
    cheap(monkeypatch)
    runs = []
    monkeypatch.setattr(run.orchestrate, "run", lambda config, workdir: runs.append(config))
    monkeypatch.setattr(run, "label_next", lambda workdir: (0, False))
    monkeypatch.setattr(run, "read_run", lambda workdir: None)
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 255, (40, 40, 3)).astype(np.uint8), "ab"[i % 2]) for i in range(16)]
    images = [rng.integers(0, 255, (40, 40, 3)).astype(np.uint8) for _ in range(16)]
    ns_jax.fit(pairs, images, workdir=tmp_path, start="", **QUICK)
    assert runs[0].data.labeled == "object:labeled" and runs[0].data.unlabeled == "object:unlabeled"
    said = capsys.readouterr().out
    plan = [line for line in said[said.index("plan\n") :].splitlines()[1:] if line.startswith("  ")]
    assert len(plan) == 10 and "16 labeled, 16 without labels, none to test on" in plan[0]


def seen(**fields):
    given = {
        "class_names": ("a", "b"), "counts": (50, 50), "num_unlabeled": 1868, "num_test": 656, "shorter_side": 300,
        "smallest_side": 300, "num_broken": 0,
    }  # fmt: skip
    return Seen(**(given | fields))


def test_rules():
    assert rules.choose_resolution(seen(), on_cpu=True) == 160
    assert rules.choose_resolution(seen(), on_cpu=False) == 224
    assert rules.choose_resolution(seen(shorter_side=100, smallest_side=90), on_cpu=True) == 96
    shapes = rules.choose_shapes(seen(), 20, 30, control=False)
    assert [(shape.students, shape.folds) for shape in shapes] == [(1, 3), (1, 0)]
    assert shapes[0].teacher_steps == 150 and shapes[0].student_steps == round(4 * 1868 / 30)
    many = rules.choose_shapes(seen(counts=(600, 600)), 20, 30, control=False)
    assert [(shape.students, shape.folds) for shape in many] == [(1, 0)]


def test_a_recipe_has_the_steps_of_its_plan():
    config = own_images.get_config()
    config.data.update({"labeled": "mnist5k:labeled", "unlabeled": "mnist5k:unlabeled", "test": "mnist5k:test"})
    shape = Shape(150, 249, 2, 3, True, 1868, 656)
    applied = run.apply_recipe(config, {"temperature"}, rules.make_recipe(seen(), config, 160, shape))
    validate(applied)
    from ns_jax.experiment.chain import iterations
    from ns_jax.run.settings import schedule_settings
    from ns_jax.training.schedule import learning_rate_schedule, num_train_steps

    resolved = dict(iterations(applied))
    settings = {name: schedule_settings(own) for name, own in resolved.items()}
    steps = {name: num_train_steps(schedule, 100) for name, schedule in settings.items()}
    assert steps == {"iteration_0": 150, "iteration_1": 249, "iteration_2": 249, "control": 648}
    peaks = {
        name: max(float(learning_rate_schedule(schedule, 100)(step)) for step in range(60, 80))
        for name, schedule in settings.items()
    }
    assert peaks["iteration_1"] == pytest.approx(peaks["control"], rel=0.4)
    last = float(learning_rate_schedule(settings["iteration_0"], 100)(149))
    assert last / (config.base_learning_rate * 20 / 256) == pytest.approx(0.97**29, rel=1e-3)


def cheap(monkeypatch):
    monkeypatch.setattr(run, "measure", lambda *_: (Costs(0.5, 1.0, 0.01), 10**6))


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"budget": "61s"}, "budget of 61 s is too short: .* this machine needs"),
        ({"budget": "soon"}, "budget='soon': write a time as 30m"),
        ({"labeled": "nowhere"}, "labeled=.*nowhere: there is no such folder"),
        ({"labeled": "unlabeled"}, "it is either one sub-folder per class, or images without labels"),
        ({"unlabeled": "labeled"}, "are the labeled images"),
        ({"labeled": "one class"}, "images of one class only"),
        ({"unlabeled": "tiny"}, "images of 20 px, and the model halves them to 32 times smaller"),
        ({"test": "other classes"}, "differ in their classes|has the class"),
        ({"start": "efficientnet-lite9"}, "efficientnet-lite9"),
        ({"train_epoch": 3}, "there is no field train_epoch, did you mean train_epochs"),
        ({"corrections": "nothing.csv"}, "nothing.csv"),
    ],
)
def test_bad_input(change, problem, folders, tmp_path, monkeypatch):
    """Before anything is measured, but for a budget that is too short."""
    if "budget" in change:
        cheap(monkeypatch)
    else:
        monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("it was measured first"))
    for name, side in (("one class/only/a.png", 48), ("tiny/a.png", 20), ("other classes/x/a.png", 48)):
        draw(tmp_path / name, 1, side)
    draw(tmp_path / "other classes" / "y" / "b.png", 2)
    arguments = {name: str(folders / name) for name in ("labeled", "unlabeled", "test")}
    for name, value in change.items():
        if name in arguments:
            value = str(folders / value) if (folders / value).exists() else str(tmp_path / value)
        arguments[name] = value
    with pytest.raises(UserError, match=problem) as caught:
        ns_jax.fit(**{"workdir": tmp_path / "run", "start": "", **QUICK, **arguments})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "config.json").exists()  # the corrected command is not refused


def test_command(folders, tmp_path):
    fields = [f"--config.{name}={value}" for name, value in QUICK.items()]
    arguments = ["--labeled=nowhere", f"--unlabeled={folders / 'unlabeled'}", f"--workdir={tmp_path / 'run'}", *fields]
    process = subprocess.run(
        [sys.executable, "-m", "ns_jax.fit", *arguments], capture_output=True, text=True, cwd=tmp_path,
        env=command.quick_environment() | {"PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1] == "error: labeled=nowhere: there is no such folder"


@pytest.mark.slow  # it trains again
def test_corrections_after_a_run(fitted, folders, tmp_path, capsys):
    """Two labels are corrected: the second run has the plan of the first, and says what is new."""
    names = sorted(str(path.relative_to(folders / "unlabeled")) for path in (folders / "unlabeled").rglob("*.png"))
    checked = f"{CLASSES[1]}/bild 0.png"
    table = tmp_path / "corrections.csv"
    table.write_text("path,label\n" + "".join(f"{name},{CLASSES[0]}\n" for name in [*names[:4], checked]))
    parts = [folders / name for name in ("labeled", "unlabeled", "test")]
    capsys.readouterr()
    second = ns_jax.fit(
        *parts, workdir=tmp_path / "second", start="", corrections=str(table), after=fitted.workdir, **HELD_OUT
    )
    said = capsys.readouterr().out
    assert "5 corrections: 1 labels changed, 4 images joined, 0 removed" in said
    assert f"the plan is that of {fitted.workdir}" in said and "measuring" not in said
    assert "iteration_0 test: " in said and "pseudo-labels are others than before" in said
    before, now = (json.loads((run.workdir / "config.json").read_text())["config"] for run in (fitted, second))
    assert before["chain"] == now["chain"] and now["data"]["corrections"] == str(table)
    assert not (second.workdir / "compilation_cache").exists()
    assert second.results["iteration_1"]["validation"]["count"] in (7, 8)  # a quarter of 25 and the 4 that joined
    with pytest.raises(UserError, match="there is no run with a config.json"):
        ns_jax.fit(*parts, workdir=tmp_path / "third", after=tmp_path / "nowhere", **QUICK)


def test_what_to_label_next(fitted):
    rows = (fitted.workdir / "report" / "label_next.csv").read_text().splitlines()
    assert len(rows) == 41  # a header, and all of the 40 images
