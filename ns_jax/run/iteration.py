"""What every stage of an iteration needs."""

import dataclasses
import functools
import hashlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath

from ns_jax.data import pipeline, sources
from ns_jax.data.pipeline import View
from ns_jax.errors import UserError
from ns_jax.files import read_json, write_json
from ns_jax.models.registry import create_model
from ns_jax.models.variants import Variant, get_variant
from ns_jax.parallel.hosts import is_lead, lead_first, on_lead
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
    def has_stored_labels(self) -> bool:
        """Whether its teacher's labels are stored and selected before training."""
        return self.teacher is not None and not self.config.online_teacher

    @property
    def model_dir(self) -> epath.Path:
        """Of what the train stage makes."""
        return self.workdir / "model"

    @property
    def result_dir(self) -> epath.Path:
        """Of what this iteration ends with: the fine-tuned model where there is fine-tuning."""
        return self.workdir / "finetune" / "model" if self.config.finetune.epochs else self.model_dir

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
        """The source of data.labeled, data.unlabeled or data.test, prepared on one host first.

        Raises:
          UserError: it does not hold what it held when this iteration began.
        """
        source = lead_first(lambda: sources.open_source(self.config.data[field], self.config.data.dir))
        on_lead(lambda: self._check_unchanged(field, source))
        return source

    def _check_unchanged(self, field: str, source: sources.Source) -> None:
        ids = hashlib.sha256(b"\0".join(source.ids(np.arange(source.count)).tolist())).hexdigest()
        now = {"source": source.name, "count": source.count, "class_names": list(source.class_names), "ids": ids}
        path = self.workdir / "data" / f"{field}.json"
        if not path.exists():
            write_json(path, now)
        elif (before := read_json(path)) != now:
            raise UserError(
                f"{source.name} has changed since this run began ({before['count']} images in "
                f"{len(before['class_names'])} classes then, {now['count']} in {len(now['class_names'])} "
                "now, or other names): put it back, or choose another --workdir"
            )

    def open_labeled(self, field: str) -> sources.Source:
        source = self.open(field)
        if not source.num_classes:
            raise UserError(
                f"data.{field}={source.name} has no classes, and labels are needed here: put the "
                "images into one sub-folder per class"
            )
        return source

    def readable(self, source: sources.Source):
        """int64 indices of the images that decode."""
        broken = self.config.data.max_broken_fraction
        return lead_first(lambda: pipeline.readable_examples(source, broken, self.root / "data"))


def build_model(variant: Variant, num_classes: int, config, bn_groups: int = 1):
    """The linen module of a row, with the noise, the dtype and the form of a config."""
    loops = {name: config.parallel[name] for name in ("scan_blocks", "remat") if config.parallel[name]}
    return create_model(
        variant,
        num_classes,
        dropout_rate=config.noise.dropout_rate,
        stochastic_depth_rate=config.noise.stochastic_depth_rate,
        bn_groups=bn_groups,
        frozen_blocks=config.frozen_blocks,
        dtype=jnp.dtype(config.dtype),
        **loops,
    )


def check_classes(who: str, have: list[str], source: sources.Source) -> None:
    """Raises UserError unless a model's classes are those of the source, in the same order."""
    want = list(source.class_names)
    if list(have) == want:
        return
    if len(have) != len(want):
        raise UserError(f"{who} has {len(have)} classes, {source.name} has {len(want)}: they must be the same")
    wrong = next(i for i in range(len(want)) if have[i] != want[i])
    raise UserError(
        f"{who} and {source.name} differ in their classes, first at {wrong}: {have[wrong]!r} there, "
        f"{want[wrong]!r} here"
    )
