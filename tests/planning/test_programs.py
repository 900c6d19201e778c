"""That a plan is of the very programs that run."""

import jax
import numpy as np
import pytest
from etils import epath

from ns_jax.configs import mnist5k
from ns_jax.experiment.chain import iterations
from ns_jax.inference import predictor as inference
from ns_jax.parallel.mesh import make_mesh
from ns_jax.planning.iteration import iteration_programs
from ns_jax.run import orchestrate
from ns_jax.stages import train
from tests.planning.shapes import COUNTS, SMALL


def signature(arguments):
    return jax.tree.map(lambda leaf: (tuple(leaf.shape), str(leaf.dtype)), arguments)


def ones(leaf):
    return jax.device_put(np.ones(leaf.shape, leaf.dtype), leaf.sharding)


@pytest.mark.usefixtures("quick_compilation")
def test_the_programs_are_those_of_a_run(tmp_path, monkeypatch):
    """Same arguments, and as often: each call in the smoke form's two iterations is recorded, and not computed."""
    calls, stages = {}, iter(["evaluate", "label", "evaluate"])
    make_training, make_predict = train.make_training, inference.make_predict

    def recorded(function, stage):
        result = []

        def call(*arguments):
            calls.setdefault(stage, []).append(signature(arguments))
            if not result:
                result.append(jax.tree.map(ones, jax.eval_shape(function, *arguments)))
            return result[0]

        return call

    def make_training_recorded(*args):
        made = make_training(*args)
        return made._replace(step=recorded(made.step, "train"))

    monkeypatch.setattr(train, "make_training", make_training_recorded)
    monkeypatch.setattr(inference, "make_predict", lambda *args: recorded(make_predict(*args), next(stages)))
    config = mnist5k.get_config("smoke")
    config.train_epochs = 2.0
    orchestrate.run(config, epath.Path(tmp_path))
    wanted = {}
    for _, own_config in iterations(config):
        for program in iteration_programs(own_config, make_mesh(), COUNTS, SMALL):
            wanted.setdefault(program.stage, []).extend([signature(program.arguments)] * program.runs)
    assert calls.keys() == wanted.keys()
    for stage, recorded_calls in calls.items():
        assert recorded_calls == wanted[stage], stage
