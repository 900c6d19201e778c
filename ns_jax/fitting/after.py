"""A run after another one, with labels that a person has corrected since: what is taken over, and what has changed."""

from etils import epath
from ml_collections import ConfigDict

from ns_jax.errors import UserError
from ns_jax.experiment.saved import load_config
from ns_jax.files import write_bytes
from ns_jax.report.collect import collect_labels, collect_run


def take_over(before: epath.Path, workdir: epath.Path) -> ConfigDict:
    """The config of a run that was planned before, for a new run.

    What was learned about the images is copied, and compiled programs are shared. Models and pseudo-labels are made
    anew: all of them depend on the labels.

    Args:
      before: folder of the earlier run.
      workdir: of the new one.

    Raises:
      UserError: there is no such run, or it is the same folder.
    """
    if not (before / "config.json").exists():
        raise UserError(f"after={before}: there is no run with a config.json")
    if before == workdir:
        raise UserError(f"after={before} is the --workdir itself: give the new run a folder of its own")
    config = load_config(before / "config.json")
    (workdir / "data").mkdir(parents=True, exist_ok=True)
    for known in (before / "data").glob("broken_images-*.json"):
        write_bytes(workdir / "data" / known.name, known.read_bytes())
    with config.unlocked():
        config.compilation_cache_dir = config.compilation_cache_dir or str(before / "compilation_cache")
    return config


def changes(before: epath.Path, after: epath.Path) -> list[str]:
    """A line for each thing that differs between two runs: results iteration by iteration, and pseudo-labels."""
    lines = []
    results = {iteration.name: iteration.evaluations for iteration in collect_run(before)}
    for iteration in collect_run(after):
        for name, result in iteration.evaluations.items():
            earlier = results.get(iteration.name, {}).get(name, {})
            if "top1" in earlier and "top1" in result:
                gain = 100 * (result["top1"] - earlier["top1"])
                lines.append(
                    f"{iteration.name} {name}: {100 * earlier['top1']:.1f} % before, {100 * result['top1']:.1f} % now "
                    f"({gain:+.1f})"
                )
        if different := _changed_labels(before / iteration.name, after / iteration.name):
            lines.append(f"{iteration.name}: {different}")
    return lines


def _changed_labels(before: epath.Path, after: epath.Path) -> str:
    """How many pseudo-labels are others than before; '' where not both runs have any."""
    collected = [collect_labels(folder) for folder in (before, after)]
    if None in collected:
        return ""
    labels = [dict(zip(each.ids.tolist(), each.label.tolist(), strict=True)) for each in collected]
    shared = labels[0].keys() & labels[1].keys()
    changed = sum(labels[0][name] != labels[1][name] for name in shared)
    return f"{changed} of {len(shared)} pseudo-labels are others than before"
