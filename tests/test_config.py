import pytest

from configs import fashion_mnist, mnist5k, svhn
from ns_jax.config import fingerprint, flatten, iterations, validate
from ns_jax.errors import UserError

CONFIGS = [mnist5k.get_config(form) for form in ("chain", "control", "smoke")]
CONFIGS += [svhn.get_config(form) for form in ("chain", "teacher")] + [fashion_mnist.get_config()]


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_are_valid(config):
    validate(config)


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


@pytest.mark.parametrize("changes, message", [
    ({"images_per_class": -5}, "must not be below 0"), ({"warmup_epochs": -1.0}, "must not be below 0"),
    ({"resolution": 0}, "must be above 0"), ({"final_base_learning_rate": 1.0}, "must be below base_learning_rate"),
    ({"teacher": "somewhere"}, "there is nothing to label")])  # fmt: skip
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
