"""The whole loop with workdir and images in a bucket: the bits of a disk, whatever happens on the way."""

import hashlib
import random
import subprocess
import time

import numpy as np
import pytest
from etils import epath

import ns_jax
from ns_jax import buckets
from tests import command
from tests.bucket.faults import Faults
from tests.bucket.test_images import copy_up
from tests.data.shards import write
from tests.stages.test_loop import wait_for
from tests.tiny_model import TINY

FIELDS = {
    "variant": TINY,
    "train_epochs": 4.0,
    "checkpoint_every_steps": 1,
    "log_every_steps": 1,
    "labeled_batch_size": 24,
    "eval_batch_size": 24,
    "label_shard_size": 32,
    "images_per_class": 20,
    "min_confidence": 0.0,
}
EVERYTHING = {503: 0.04, 429: 0.04, "drop": 0.03, "lost": 0.03, "short": 0.04}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folders of labeled and test images, and shards of unlabeled ones."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(48):
        split = "labeled" if number % 2 else "test"
        path = folder / split / f"class_{number % 3}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write.png(number))
    for shard in range(2):
        records = [write.example(image=write.png(100 + 40 * shard + number)) for number in range(40)]
        write.array_record(folder / f"train-{shard:05d}-of-00002", records)
    return folder


def sources(root) -> dict:
    return {
        "data.labeled": f"folder:{root}/labeled",
        "data.test": f"folder:{root}/test",
        "data.unlabeled": f"arrayrecord:{root}/train-*",
    }


def is_result(name: str) -> bool:
    """Whether a file must be the same bits."""
    return name.endswith((".safetensors", ".npy", "evaluations/test.npz"))


def on_disk(workdir) -> dict[str, str]:
    names = [str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file()]
    return {name: hashlib.sha256((workdir / name).read_bytes()).hexdigest() for name in names if is_result(name)}


def in_bucket(server, run: str) -> dict[str, str]:
    names = [name.removeprefix(f"{run}/") for name in server.objects.names("pictures") if name.startswith(f"{run}/")]
    data = {name: server.objects.get("pictures", f"{run}/{name}", {}).data for name in names if is_result(name)}
    return {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}


def run_here(workdir, root) -> None:
    command.run_here(workdir, **{name.replace(".", "__"): value for name, value in (FIELDS | sources(root)).items()})


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    """The results of a run on a disk, in this process."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    run_here(workdir, images)
    return on_disk(workdir)


@pytest.mark.slow  # two runs, of which one is begun twice
def test_the_loop_ends_with_the_bits_of_a_disk(server, images, undisturbed, quick_retries):
    copy_up(server, images)
    server.writes_left = 60  # in the middle of the student's training
    with pytest.raises(Exception) as caught:
        run_here("gs://pictures/run", "gs://pictures/data")
    assert "gs://pictures" in str(buckets.explain(caught.value))
    server.writes_left = None
    run_here("gs://pictures/run", "gs://pictures/data")
    assert len(undisturbed) > 6 and in_bucket(server, "run") == undisturbed
    names = [name.removeprefix("run/") for name in server.objects.names("pictures") if name.startswith("run/")]
    assert {"report/index.html", "report/labels.csv", "report/samples.png", "iteration_1/logs/scalars.jsonl"} <= set(
        names
    )
    assert any("events.out.tfevents" in name for name in names) and "run.lock" not in names
    scalars = (epath.Path("gs://pictures/run") / "iteration_1/logs/scalars.jsonl").read_text().splitlines()
    assert [line[:10] for line in scalars][-1] == '{"step": 4'
    model = ns_jax.load("gs://pictures/run", TINY)
    assert model.logits(np.zeros((1, 28, 28, 3), np.uint8)).shape == (1, 3)


@pytest.mark.slow
def test_with_errors_and_slow_answers(server, images, undisturbed):
    copy_up(server, images)
    server.faults = Faults(EVERYTHING, slow=0.01, seed=1)
    run_here("gs://pictures/run", "gs://pictures/data")
    happened = server.faults.happened
    server.faults = Faults()
    assert happened.keys() == EVERYTHING.keys() and in_bucket(server, "run") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("faults", [{}, EVERYTHING], ids=["quiet", "errors"])
def test_twenty_ends_after_any_write(server, images, undisturbed, faults):
    copy_up(server, images)
    chance = random.Random(len(faults))
    for _ in range(20):
        server.faults, server.writes_left = Faults(faults, seed=chance.randrange(1000)), chance.randint(3, 40)
        with pytest.raises(Exception) as caught:
            run_here("gs://pictures/run", "gs://pictures/data")
            break  # it was done before the writes were
        assert buckets.explain(caught.value)
    server.writes_left = None
    run_here("gs://pictures/run", "gs://pictures/data")
    server.faults = Faults()
    assert in_bucket(server, "run") == undisturbed


@pytest.mark.slow
def test_processes_that_are_killed(server, images, tmp_path):
    """By SIGKILL, at what has just appeared in the bucket, a random moment later."""
    copy_up(server, images)
    flags = lambda root: [f"--config.{name}={value}" for name, value in (FIELDS | sources(root)).items()]
    environment = command.quick_environment()
    process = command.run(tmp_path / "run", *flags(images), env=environment)
    assert process.returncode == 0, process.stderr
    chance, kills = random.Random(0), 0
    steps = [f"checkpoints/{step}/commit_success.txt" for step in (1, 2, 3)]
    markers = [f"iteration_0/{name}" for name in (*steps, "model/weights.safetensors", "evaluations/test.json")]
    markers += [
        f"iteration_1/{name}" for name in ("labels/claim.json", "labels/shard-00001.npy", "labels/manifest.json")
    ]
    markers += [f"iteration_1/{name}" for name in ("selection/manifest.json", *steps, "model/model.json")]
    for marker in ["config.json", *markers, *markers[8:]]:
        arguments = command.arguments("gs://pictures/run", *flags("gs://pictures/data"))
        with subprocess.Popen(
            arguments, cwd=command.REPO, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            if wait_for(process, lambda name=f"run/{marker}": name in server.objects.of("pictures")):
                time.sleep(chance.uniform(0, 0.5))
                process.kill()
                kills += process.wait() == -9
    process = command.run("gs://pictures/run", *flags("gs://pictures/data"), env=environment)
    assert process.returncode == 0, process.stderr
    assert kills >= 10 and in_bucket(server, "run") == on_disk(tmp_path / "run")
