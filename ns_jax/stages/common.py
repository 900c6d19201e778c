"""What every stage of an iteration needs."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from etils import epath

from ns_jax.data import pipeline, sources
from ns_jax.data.pipeline import View
from ns_jax.errors import UserError
from ns_jax.models.efficientnet import EfficientNet
from ns_jax.models.variants import Variant, get_variant
from ns_jax.parallel.hosts import barrier, is_lead
from ns_jax.report.progress import say


@dataclasses.dataclass(frozen=True)
class Iteration:
    """One iteration: its config, where it works and who taught it.

    Attributes:
      name: 'iteration_2', or '' where the config has no chain.
      config: resolved, without a chain.
      workdir: of this iteration.
      root: the workdir of the run.
      teacher: folder of the teacher's artifact; None for supervised training.
      mesh: all devices.
      fingerprint: of the whole config.
    """

    name: str
    config: Any
    workdir: epath.Path
    root: epath.Path
    teacher: epath.Path | None
    mesh: Any
    fingerprint: str

    def title(self, stage: str) -> str:
        return f"{self.name} {stage}".strip()

    def say(self, stage: str, line: str) -> None:
        if is_lead():
            say(f"{self.title(stage)}: {line}")

    @property
    def model_dir(self) -> epath.Path:
        return self.workdir / "model"

    @functools.cached_property
    def variant(self) -> Variant:
        return get_variant(self.config.variant)

    @property
    def train_view(self) -> View:
        return View(self.config.resolution or self.variant.resolution, self.variant.crop_padding)

    def test_view(self, card: dict) -> View:
        """The clean view of a model, from its own card."""
        return View(card["resolution"], card["crop_padding"])

    def open(self, field: str) -> sources.Source:
        """The source of data.labeled, data.unlabeled or data.test. TFDS prepares on one host first."""
        name, folder = self.config.data[field], self.config.data.dir
        if not is_lead():
            barrier(f"open {field}")
        source = sources.open_source(name, folder)
        if is_lead():
            barrier(f"open {field}")
        return source

    def open_labeled(self, field: str) -> sources.Source:
        source = self.open(field)
        if not source.num_classes:
            raise UserError(f"data.{field}={source.name} has no classes, and labels are needed here: put the "
                            "images into one sub-folder per class")  # fmt: skip
        return source

    def readable(self, source: sources.Source):
        """int64 indices of the images that decode."""
        if not is_lead():
            barrier(f"scan {source.name}")
        found = pipeline.readable_examples(source, self.config.data.max_broken_fraction, self.root / "data")
        if is_lead():
            barrier(f"scan {source.name}")
        return found


def build_model(variant: Variant, num_classes: int, config, bn_groups: int = 1) -> EfficientNet:
    return EfficientNet(
        variant, num_classes, dropout_rate=config.noise.dropout_rate,
        stochastic_depth_rate=config.noise.stochastic_depth_rate, bn_groups=bn_groups,
        dtype=jnp.dtype(config.dtype))  # fmt: skip


def check_classes(who: str, have: list[str], source: sources.Source) -> None:
    """Raises UserError unless a model's classes are those of the source, in the same order."""
    want = list(source.class_names)
    if list(have) == want:
        return
    if len(have) != len(want):
        raise UserError(f"{who} has {len(have)} classes, {source.name} has {len(want)}: they must be the same")
    wrong = next(i for i in range(len(want)) if have[i] != want[i])
    raise UserError(f"{who} and {source.name} differ in their classes, first at {wrong}: {have[wrong]!r} there, "
                    f"{want[wrong]!r} here")  # fmt: skip
