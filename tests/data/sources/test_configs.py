"""The TensorFlow data sets that experiments name: they exist, with that configuration and a split of that name."""

import re

import pytest

from ns_jax.data.sources.tfds import _split_name
from ns_jax.experiment.chain import iterations
from tests import experiments
from tests.conftest import REPO

# Splits are known only of a data set that is there; these are of TFDS's catalogue.
SPLITS = {
    "imagenet2012": {"train", "validation", "test"},
    "imagenet2012_subset": {"train", "validation"},
    "fashion_mnist": {"train", "test"},
}


def data_sets() -> set[str]:
    named = set()
    for name in experiments.names(REPO / "configs"):
        for _, config in iterations(experiments.load(name)):
            sources = (config.data.labeled, config.data.unlabeled, config.data.test)
            named |= {source.removeprefix("tfds:") for source in sources if source.startswith("tfds:")}
    return named


@pytest.mark.parametrize("name", sorted(data_sets()))
def test_data_sets_of_experiments_exist(name):
    import tensorflow_datasets as tfds

    data_set, split = _split_name(name)
    title, _, configuration = data_set.partition("/")
    builder = tfds.builder_cls(title)
    configurations = {config.name for config in builder.BUILDER_CONFIGS}
    assert configuration in configurations or not configuration and not configurations, configurations
    assert re.sub(r"\[.*\]", "", split) in SPLITS[title]
