import importlib

import pytest

from ns_jax.configs import mnist5k
from ns_jax.errors import UserError
from ns_jax.experiment.config import fingerprint, flatten, iterations, validate
from tests import experiments, golden
from tests.conftest import REPO

EXPERIMENTS = experiments.names(REPO / "configs")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_valid_and_say_what_they_are(name):
    validate(experiments.load(name))
    text = importlib.import_module(f"ns_jax.configs.{name.partition(':')[0]}").__doc__
    assert f"--config=configs/{name.partition(':')[0]}.py" in text and "--workdir=DIR" in text
    assert "aper" in text and any(word in text for word in ("TPU", "CPU", "GPU"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_as_reviewed(name):
    """After a deliberate change: python -m tests.golden."""
    assert golden.path_of(name).read_text() == golden.golden_text(name)


@pytest.mark.parametrize("name", ["ablation_noise:loud", "ablation_ratio:3,large", "ablation_larger_student:b7_b0"])
def test_unknown_rows(name):
    with pytest.raises(ValueError, match="one of"):
        experiments.load(name)


def test_a_chain_runs_in_the_order_of_its_numbers():
    config = mnist5k.get_config()
    with config.unlocked():
        config.chain.iteration_10 = {"train_epochs": 7.0}
    names = [name for name, _ in iterations(config)]
    assert names == ["iteration_0", "iteration_1", "iteration_2", "iteration_3", "iteration_10"]
    assert iterations(config)[-1][1].train_epochs == 7.0 and config.train_epochs != 7.0


def test_how_it_runs_is_not_what_it_is():
    config, other = mnist5k.get_config(), mnist5k.get_config()
    other.log_every_steps, other.stages = 7, ("train",)
    with other.unlocked():
        other.chain.iteration_1.stages = ("train",)
    assert fingerprint(config) == fingerprint(other)
    other.chain.iteration_1.update({})
    other.seed = 1
    assert fingerprint(config) != fingerprint(other) and flatten(other)["seed"] == 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"images_per_class": -5}, "must not be below 0"),
        ({"warmup_epochs": -1.0}, "must not be below 0"),
        ({"resolution": 0}, "must be above 0"),
        ({"final_base_learning_rate": 1.0}, "must be below base_learning_rate"),
        ({"teacher": "somewhere"}, "there is nothing to label"),
        ({"train_on": "pseudo_labels"}, "there are no pseudo-labels"),
        ({"finetune": {"epochs": 1.0, "resolution": 20}}, "finetune.resolution=20 is below that of training, 28"),
        ({"frozen_blocks": 2}, "without init_from"),
        ({"frozen_blocks": 9, "init_from": "x"}, "efficientnet-small has 5 blocks"),
        ({"finetune": {"epochs": 1.0, "frozen_blocks": 6}}, "finetune.frozen_blocks=6"),
        ({"labeled_sample_prob": 0.0}, "in .0, 1."),
        ({"max_confidence": 0.2}, "above min_confidence"),
        ({"init_from": "teacher"}, "there is no teacher"),
        ({"finetune": {"epochs": 1e4}}, "longer than train_epochs"),
        ({"unlabeled_ratio": 14}, "unlabeled_ratio=14 without data.unlabeled"),
        ({"data": {"unlabeled": "x"}, "teacher": "y"}, "must be above 0 with data.unlabeled"),
    ],
)
def test_impossible_configs(changes, message):
    config = mnist5k.get_config("control")
    config.update(changes)
    with pytest.raises(UserError, match=message):
        validate(config)


def test_a_typo_in_a_chain_is_named():
    config = mnist5k.get_config()
    with config.unlocked():
        config.chain.iteration_1 = {"trian_epochs": 3.0}
    with pytest.raises(UserError, match="chain.iteration_1: .*trian_epochs"):
        validate(config)
