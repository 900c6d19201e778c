"""The method: the iterations of a config, and the stages of each, in order."""

import numpy as np
from etils import epath

from ns_jax.config import claim_workdir, fingerprint, iterations, validate
from ns_jax.files import read_json, write_bytes
from ns_jax.parallel.hosts import is_lead
from ns_jax.parallel.mesh import make_mesh
from ns_jax.report.progress import say
from ns_jax.report.tables import results_table
from ns_jax.stages import evaluate, label, select, train
from ns_jax.stages.common import Iteration

RUN = {"label": label.run, "select": select.run, "train": train.run, "evaluate": evaluate.run}


def run(config, workdir: epath.Path) -> None:
    """Runs what is missing of every iteration, then writes the report.

    Args:
      config: see configs/common.py.
      workdir: holds everything that the run makes; an interrupted run continues there.

    Raises:
      UserError: the config, the data or the workdir cannot be used as they are.
    """
    validate(config)
    claim_workdir(workdir, config, write=is_lead())
    mesh, teacher, plan = make_mesh(), None, []
    for name, one in iterations(config):
        folder = workdir / name if name else workdir
        taught_by = None
        if one.data.unlabeled:
            taught_by = teacher or epath.Path(one.teacher)
        plan.append(Iteration(name, one, folder, workdir, taught_by, mesh, fingerprint(config)))
        teacher = plan[-1].model_dir
    for iteration in plan:
        for stage in iteration.config.stages:
            if iteration.teacher is None and stage in ("label", "select"):
                continue
            RUN[stage](iteration)
    if is_lead():
        report(plan, workdir / "report")


def report(plan: list[Iteration], folder: epath.Path) -> None:
    """The table of all evaluated iterations, and the pictures."""
    evaluated = [one for one in plan if evaluate.result_path(one).exists()]
    if evaluated:
        from ns_jax.report import plots  # matplotlib is slow to import

        results = [read_json(evaluate.result_path(one)) for one in evaluated]
        table = results_table(results)
        say("\n" + table)
        write_bytes(folder / "results.md", (table + "\n").encode())
        plots.plot_accuracy(results, folder / "accuracy.png")
    students = [one for one in plan if one.teacher is not None and select.selection_of(one).is_complete()]
    if students:
        from ns_jax.report import plots

        stores = {one.name or "student": label.label_store(one) for one in students}
        shards = {name: [store.read_shard(i) for i in range(len(store.manifest()["ranges"]))]
                  for name, store in stores.items()}  # fmt: skip
        last = students[-1]
        manifest = select.selection_of(last).manifest()
        class_names = label.label_store(last).manifest()["class_names"]
        confidences = {name: np.concatenate([shard["confidence"] for shard in found]) for name, found in shards.items()}
        plots.plot_confidence(confidences, last.config.min_confidence, folder / "confidence.png")
        plots.plot_balance(np.array(manifest["per_class_before"]), np.array(manifest["per_class_after"]),
                           class_names, folder / "balance.png")  # fmt: skip
        _sample_sheet(last, shards[last.name or "student"], class_names, folder / "samples.png")
    if evaluated or students:
        say(f"report: {folder}")


def _sample_sheet(iteration: Iteration, shards, class_names, path, count: int = 40) -> None:
    """Forty images over the range of confidence, least sure first."""
    from ns_jax.report import plots

    source = iteration.open("unlabeled")
    index_of = {one: i for i, one in enumerate(source.ids(np.arange(source.count)).tolist())}
    records = np.concatenate([shard[["id", "label", "confidence"]] for shard in shards])
    order = np.argsort(records["confidence"], kind="stable")
    # Half of the sheet from the least sure tenth: that is where a person can judge the teacher.
    tenth = max(1, len(order) // 10)
    picks = np.unique(np.concatenate([np.linspace(0, tenth - 1, count // 2), np.linspace(tenth, len(order) - 1, count // 2)]).astype(int))
    picked = records[order[picks[picks < len(order)]]]
    images = [source.load(index_of[one])[0].numpy() for one in picked["id"].tolist()]
    titles = [f"{class_names[one['label']]} {one['confidence']:.2f}" for one in picked]
    plots.plot_samples(images, titles, path)
