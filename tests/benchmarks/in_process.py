"""`benchmarks.runs.run_main` without a process of its own: importing everything takes longer than a tiny run."""

import ast
from pathlib import Path

from etils import epath

from ns_jax.experiment.checks import validate
from ns_jax.run import orchestrate
from tests import experiments
from tests.data.sources.test_sources import write_image


def write_images(folder: Path) -> None:
    """Writes eight images of two classes as labeled and as test images, and eight without a class."""
    for number in range(8):
        for part in ("labeled", "test"):
            write_image(folder / part / ("cat", "dog")[number % 2] / f"{number}.png", number)
        write_image(folder / "unlabeled" / f"{number}.png", 20 + number)


class ToyRunner:
    """Runs experiments on the images of `write_images`: a tiny model, two steps an iteration, no pictures."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, config: str, workdir: Path, overrides, *flags: str) -> None:
        """As `benchmarks.runs.run_main`; the only flag is --stages."""
        loaded = experiments.load(config.removeprefix("configs/").replace(".py", ""))
        for name in ("labeled", "unlabeled", "test"):
            if loaded.data[name]:
                loaded.data[name] = f"folder:{self.folder / name}"
        loaded.variant, loaded.augment = "tests.extending.own_model:TinyConvNetArchitecture", ("pad4",)
        loaded.labeled_batch_size = loaded.eval_batch_size = 8
        loaded.train_epochs, loaded.warmup_epochs = 2.0, 1.0
        loaded.min_confidence, loaded.images_per_class = 0.0, 8
        for name, value in overrides.items():
            *groups, field = name.split(".")
            group = loaded
            for part in groups:
                group = group[part]
            group[field] = _parse(value)
        for flag in flags:
            loaded.stages = tuple(flag.removeprefix("--stages=").split(","))
        validate(loaded)
        orchestrate.run(loaded, epath.Path(workdir))


def _parse(value):
    """The value of a field from what would be written on the command line."""
    if isinstance(value, Path):
        return str(value)
    return ast.literal_eval(value) if isinstance(value, str) and value[:1] in "(0123456789" else value
