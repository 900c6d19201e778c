"""That a plan is of the very programs that run."""

import jax
import numpy as np
import pytest
from etils import epath

from ns_jax.configs import mnist5k
from ns_jax.errors import UserError
from ns_jax.experiment.chain import iterations
from ns_jax.inference import predictor
from ns_jax.interop import formats
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import make_mesh
from ns_jax.planning.iteration import find_teacher, iteration_programs
from ns_jax.planning.programs import Teacher, result_of
from ns_jax.run import orchestrate
from ns_jax.stages import train
from tests.extending import experiment
from tests.interop.weights import random_artifact
from tests.planning.shapes import COUNTS, SMALL, TINY_TEACHER, supervised
from tests.tiny_model import TINY


def signature(arguments):
    return jax.tree.map(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), arguments)


def ones(leaf):
    return jax.device_put(np.ones(leaf.shape, leaf.dtype), leaf.sharding)


def uniform(leaf):
    """Probabilities that are the same for all classes."""
    return jax.device_put(np.full(leaf.shape, 1 / leaf.shape[-1], leaf.dtype), leaf.sharding)


@pytest.mark.usefixtures("quick_compilation")
def test_the_programs_are_those_of_a_run(tmp_path, monkeypatch):
    """Same arguments, and as often: each call in the smoke form's two iterations is recorded, and not computed."""
    calls, stages = {}, iter(["evaluate", "label", "evaluate"])
    make_training, make_predict = train.make_training, predictor.make_predict

    def recorded(function, stage, content=ones):
        result = []

        def call(*arguments):
            calls.setdefault(stage, []).append(signature(arguments))
            if not result:
                result.append(jax.tree.map(content, jax.eval_shape(function, *arguments)))
            return result[0]

        return call

    def make_training_recorded(*args):
        made = make_training(*args)
        return made._replace(step=recorded(made.step, "train"))

    monkeypatch.setattr(train, "make_training", make_training_recorded)
    monkeypatch.setattr(train, "compile_step", lambda step, *_: step)
    monkeypatch.setattr(predictor, "make_predict", lambda *args: recorded(make_predict(*args), next(stages), uniform))
    config = mnist5k.get_config("smoke")
    config.variant, config.train_epochs = TINY, 2.0
    orchestrate.run(config, epath.Path(tmp_path))
    wanted = {}
    for _, iteration_config in iterations(config):
        for program in iteration_programs(iteration_config, make_mesh(), COUNTS, TINY_TEACHER):
            wanted.setdefault(program.stage, []).extend([signature(program.arguments)] * program.runs)
    assert calls.keys() == wanted.keys()
    for stage, arguments in calls.items():
        assert arguments == wanted[stage], stage


def test_programs_of_a_model_on_vectors():
    """It has no resolution, and takes what its source holds."""
    config = dict(iterations(experiment.get_config("vectors")))["iteration_1"]
    teacher = result_of(config)
    assert teacher.resolution is None
    shape = teacher.architecture.inputs.shape
    programs = {program.stage: program for program in iteration_programs(config, make_mesh(), COUNTS, teacher)}
    assert list(programs) == ["label", "train", "evaluate"]
    assert all(program.resolution is None for program in programs.values())
    batch = programs["train"].arguments[1]
    assert batch["image"].shape[1:] == batch["unlabeled_image"].shape[1:] == shape
    assert batch["probs"].shape == (batch["unlabeled_image"].shape[0], COUNTS.classes)
    assert programs["train"].images == batch["image"].shape[0] + batch["unlabeled_image"].shape[0]


def test_stages_that_do_not_apply_have_no_programs():
    supervised_config = supervised(labeled_batch_size=48, stages=("label", "select", "train", "finetune", "evaluate"))
    stages = [program.stage for program in iteration_programs(supervised_config, make_mesh(), COUNTS, SMALL)]
    assert stages == ["train", "evaluate"]
    with supervised_config.unlocked():
        supervised_config.finetune.epochs, supervised_config.finetune.resolution = 1.0, 32
    programs = iteration_programs(supervised_config, make_mesh(), COUNTS, SMALL)
    assert [(program.stage, program.resolution) for program in programs] == [
        ("train", 28),
        ("finetune", 32),
        ("evaluate", 32),
    ]


def test_a_batch_is_split_over_the_devices():
    config = supervised(eval_batch_size=1001, stages=("evaluate",))
    with pytest.raises(UserError, match="eval_batch_size=1001 cannot be split over 8 devices"):
        iteration_programs(config, make_mesh(), COUNTS, SMALL)


def test_the_first_teacher_is_what_its_folder_says(tmp_path):
    config = supervised()
    with config.unlocked():
        config.teacher = str(tmp_path / "teacher")
    assert find_teacher(config) == SMALL
    assert find_teacher(config, "efficientnet-b1", 300) == Teacher(get_architecture("efficientnet-b1"), 300)
    artifact = random_artifact("efficientnet-b0", 2)
    formats.write(epath.Path(config.teacher), artifact, "artifact")
    assert find_teacher(config).architecture is get_architecture("efficientnet-b0")
    assert find_teacher(config).resolution == artifact.metadata["resolution"]
    assert find_teacher(config, resolution=100).resolution == 100
    assert find_teacher(config, "efficientnet-small") == SMALL
