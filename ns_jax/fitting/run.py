"""From folders to a trained model: looks at the images, plans, says so, and runs the plan."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from ns_jax.buckets import absolute, is_bucket
from ns_jax.data.sources import objects
from ns_jax.errors import UserError
from ns_jax.experiment.chain import iterations
from ns_jax.experiment.checks import validate
from ns_jax.experiment.fields import FIELDS, SECTIONS, unknown_field
from ns_jax.experiment.saved import load_config
from ns_jax.files import read_json
from ns_jax.fitting import rules
from ns_jax.fitting.after import changes, take_over
from ns_jax.fitting.budget import Costs, Shape, describe_duration, fit_budget, parse_duration
from ns_jax.fitting.label_next import label_next
from ns_jax.fitting.look import Seen, look
from ns_jax.fitting.speed import prediction_seconds, training_cost
from ns_jax.inference.model import load, read
from ns_jax.interop.starts import STARTS, find_start
from ns_jax.models.registry import get_architecture
from ns_jax.parallel.mesh import make_mesh
from ns_jax.report.collect import collect_run
from ns_jax.report.progress import say
from ns_jax.run import orchestrate
from ns_jax.run.memory import check_memory
from ns_jax.run.settings import schedule_settings
from ns_jax.training.schedule import num_train_steps

TABLES = (".csv", ".parquet")
RUNTIME_BYTES = 1.5e9  # of Python, jax and TensorFlow themselves


@dataclasses.dataclass(frozen=True)
class Images:
    """Whose images: each a folder, a table (.csv, .parquet), a source string as 'tfds:...', or a Python object.

    Attributes:
      labeled: one sub-folder per class.
      unlabeled: images without labels.
      test: labeled images that are looked at once, at the end; None: there are none.
      corrections: a file of labels that a person has corrected; '' for none.
    """

    labeled: Any
    unlabeled: Any
    test: Any = None
    corrections: str = ""

    def fields(self) -> dict[str, str]:
        """The section `data` of a config."""
        return {
            "labeled": source_string("labeled", self.labeled),
            "unlabeled": source_string("unlabeled", self.unlabeled),
            "test": source_string("test", self.test),
            "corrections": self.corrections,
        }


def source_string(field: str, images: Any) -> str:
    """The string by which a config names somebody's images; '' for None.

    Raises:
      UserError: there is no such folder, or the object is none that `ns_jax.data.sources.objects` takes.
    """
    if images is None or images == "":
        return ""
    if not isinstance(images, str | os.PathLike):
        return objects.register(field, images)
    text = os.fspath(images)
    if is_bucket(text) and ":" not in text.partition("://")[0]:
        return f"folder:{text}"
    path = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(path):
        return f"folder:{path}"
    table, _, split = text.partition(":")
    if table.lower().endswith(TABLES):
        return f"manifest:{os.path.abspath(os.path.expanduser(table))}" + (f":{split}" if split else "")
    if ":" in text and not os.path.exists(path):
        return text
    raise UserError(f"{field}={text}: there is no such folder")


def fit_run(
    images: Images,
    workdir: epath.Path,
    config: ConfigDict,
    given: set[str],
    budget: str = "30m",
    control: bool = False,
    after: str = "",
) -> None:
    """Plans and runs, and ranks the unlabeled images by how much a label of theirs would tell.

    Args:
      images: to learn from.
      workdir: of the run. One that is there already goes on as it was planned.
      config: of configs/own_images.py, with what a user has set.
      given: names of the fields that a user has set: they stay.
      budget: how long it may take, as '30m'.
      control: whether to train a supervised model of as many steps beside it.
      after: folder of an earlier run, whose plan is taken over, and whose results are compared; '' for none.

    Raises:
      UserError: see `look`, `choose_resolution`, `fit_budget`, `check_memory`, `take_over` and `orchestrate.run`.
    """
    seconds = parse_duration(budget)
    fields = images.fields()
    with config.unlocked():
        config.data.update(fields)
    if not (config.data.labeled and config.data.unlabeled):
        raise UserError("name the labeled and the unlabeled images: --labeled=DIR --unlabeled=DIR")
    if (workdir / "config.json").exists():
        config = _with_given(load_config(workdir / "config.json"), fields, config, given)
        say(f"{workdir} has a plan: going on with it")
    elif after:
        config = _with_given(take_over(epath.Path(absolute(after)), workdir), fields, config, given)
        say(f"the plan is that of {after}")
    else:
        plan(config, given, workdir, seconds, control)
    validate(config)
    orchestrate.run(config, workdir)
    if after:
        for line in changes(epath.Path(absolute(after)), workdir):
            say(line)
    try:
        chosen, _ = label_next(workdir)
        say(f"{chosen} images that are worth a label most: {workdir / 'report' / 'label_next.html'}")
    except UserError as error:
        say(f"no ranking of images to label next: {error}")


def _with_given(planned: ConfigDict, images: dict[str, str], config: ConfigDict, given: set[str]) -> ConfigDict:
    """A planned config with the images and the fields that a user gives now.

    In the folder of an earlier run, a difference that matters is refused later.
    """
    with planned.unlocked():
        planned.data.update(images)
        for field in given:
            _copy_field(field, config, planned)
    return planned.lock()


def _copy_field(field: str, source: ConfigDict, target: ConfigDict) -> None:
    *sections, leaf = field.split(".")
    for section in sections:
        source, target = source[section], target[section]
    target[leaf] = source[leaf]


def plan(config: ConfigDict, given: set[str], workdir: epath.Path, budget: float, control: bool) -> None:
    """Sets the fields of a config that the images and this machine decide, and prints the plan."""
    check_variant_start(config)
    seen = look(config.data, workdir / "data")
    on_cpu = jax.default_backend() == "cpu"
    resolution = config.resolution if "resolution" in given else rules.choose_resolution(seen, on_cpu)
    shapes = rules.choose_shapes(
        seen, config.labeled_batch_size, config.labeled_batch_size // 2 * config.unlabeled_ratio, control
    )
    if given & {"validation_folds", "validation_fraction"}:
        shapes = [dataclasses.replace(shape, folds=config.validation_folds) for shape in shapes]
    say(f"looked at {seen.num_labeled + seen.num_unlabeled + seen.num_test} images; measuring this machine")
    trial = apply_recipe(config, given, rules.make_recipe(seen, config, resolution, shapes[-1]))
    costs, num_bytes = measure(trial, seen)
    check_memory(num_bytes + RUNTIME_BYTES)
    shape, cut = fit_budget(shapes, costs, budget)
    recipe = rules.make_recipe(seen, config, resolution, shape)
    planned = apply_recipe(config, given, recipe)
    with config.unlocked():
        config.chain = ConfigDict()
        config.update(planned)
    shape = with_steps_of(planned, shape, seen)
    for line in plan_lines(seen, rules.describe(seen, planned, shape), shape, costs, cut, num_bytes):
        say(line)


def with_steps_of(config: ConfigDict, shape: Shape, seen: Seen) -> Shape:
    """What is done by a config in which a user may have set durations."""
    resolved, trained = dict(iterations(config)), rules.num_trained(seen, config, shape)
    steps = lambda name: num_train_steps(schedule_settings(resolved[name]), trained)
    return dataclasses.replace(shape, teacher_steps=steps("iteration_0"), student_steps=steps("iteration_1"))


def apply_recipe(config: ConfigDict, given: set[str], recipe: dict) -> ConfigDict:
    """A copy of a config with the fields of a recipe, but for those that a user has set."""
    applied = ConfigDict(config).copy_and_resolve_references()
    with applied.unlocked():
        applied.chain = ConfigDict()
        for field, value in recipe.items():
            if field == "chain":
                set_by_user = given & rules.DURATIONS
                value = {
                    name: {key: entry for key, entry in own.items() if key not in set_by_user}
                    for name, own in value.items()
                }
            if field not in given:
                applied[field] = ConfigDict(value) if isinstance(value, Mapping) else value
    return applied


def check_variant_start(config: ConfigDict) -> None:
    """Raises UserError, before anything else, for a start that is not installed."""
    get_architecture(config.variant)
    if config.init_from:
        find_start(config.init_from)


def measure(config: ConfigDict, seen: Seen) -> tuple[Costs, int]:
    """Seconds of a step of the teacher and of a student, and of an image to label; bytes of the larger program."""
    resolved = dict(iterations(config))
    mesh = make_mesh(config.parallel.shard_state)
    classes = len(seen.class_names)
    teacher = training_cost(resolved["iteration_0"], classes, seen.num_labeled, mesh)
    student = training_cost(resolved["iteration_1"], classes, seen.num_labeled, mesh)
    label = prediction_seconds(resolved["iteration_0"], classes, mesh)
    return Costs(teacher.seconds, student.seconds, label), max(teacher.num_bytes, student.num_bytes)


def plan_lines(seen: Seen, recipe: list[str], shape: Shape, costs: Costs, cut: str, num_bytes: int) -> list[str]:
    """The plan as people read it; `recipe` are the lines about it."""
    test = f"{seen.num_test} to test on" if seen.num_test else "none to test on"
    broken = f"; {seen.num_broken} cannot be read" if seen.num_broken else ""
    return [
        "plan",
        f"  images: {seen.num_labeled} labeled, {seen.num_unlabeled} without labels, {test}{broken}",
        *(f"  {line}" for line in recipe),
        f"  control: {f'supervised, {shape.control_steps} steps' if shape.control else 'none (--control trains one)'}",
        f"  time: about {describe_duration(shape.seconds(costs))}" + (f" ({cut})" if cut else ""),
        f"  memory: about {(num_bytes + RUNTIME_BYTES) / 2**30:.1f} GiB",
    ]


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Raises UserError for a field that does not exist."""
    for field in overrides:
        if field not in FIELDS or field in SECTIONS:
            raise UserError(unknown_field(field))


def set_start(config: ConfigDict, start: str) -> set[str]:
    """Sets the weights that training starts from, '' for random ones, and the variant that they are of.

    Args:
      config: to change.
      start: a name of `ns_jax.interop.starts`, or anything that `ns_jax.load` opens.

    Returns:
      The names of the fields.

    Raises:
      UserError: there are no such weights.
    """
    variant = config.variant
    if start in STARTS:
        variant = start
    elif start:
        variant = read(start).metadata["variant"]
    with config.unlocked():
        config.init_from, config.variant = start, variant
    return {"init_from", "variant"}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
      workdir: its folder.
      results: {iteration: {evaluation: its result}}, as the files evaluations/*.json.
      choice: which iteration is kept and why, as choice.json; {} where nothing was validated.
    """

    workdir: epath.Path
    results: dict[str, dict[str, dict]]
    choice: dict

    @property
    def model(self):
        """The model that is kept, a `Model`."""
        return load(self.workdir)

    @property
    def report(self) -> epath.Path:
        """The page."""
        return self.workdir / "report" / "index.html"

    @property
    def table(self) -> str:
        """The results as Markdown."""
        return (self.workdir / "report" / "results.md").read_text()


def fit(
    labeled: Any,
    unlabeled: Any,
    test: Any = None,
    *,
    workdir: str | os.PathLike,
    start: str | None = None,
    budget: str = "30m",
    control: bool = False,
    corrections: str = "",
    after: str | os.PathLike = "",
    **overrides: Any,
) -> Run:
    """Trains on somebody's images: `ns_jax.fit`, which describes the arguments."""
    from ns_jax.experiment.opening import open_config
    from ns_jax.session import set_up

    folder, config = epath.Path(absolute(workdir)), open_config("configs/own_images.py")
    fields = {field.replace("__", "."): value for field, value in overrides.items()}
    check_overrides(fields)
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    given = set(fields)
    if start is not None:
        given |= set_start(config, start)
    set_up(folder, config.compilation_cache_dir)
    images = Images(labeled, unlabeled, test, corrections)
    fit_run(images, folder, config, given, budget, control, os.fspath(after))
    return read_run(folder)


def read_run(workdir: epath.Path) -> Run:
    """The results in the folder of a finished run."""
    results = {}
    for iteration in collect_run(workdir):
        results[iteration.name] = iteration.evaluations
    choice = workdir / "choice.json"
    return Run(workdir, results, read_json(choice) if choice.exists() else {})
