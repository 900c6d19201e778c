"""The method: the iterations of a config, and the stages of each, in order."""

import numpy as np
from absl import logging
from etils import epath

from ns_jax.artifact.weights import has_artifact, load_artifact
from ns_jax.data.randaugment import check_names
from ns_jax.data.sources import open_source
from ns_jax.errors import UserError
from ns_jax.experiment.config import claim_workdir, fingerprint, iterations, lockstep_fingerprint
from ns_jax.files import read_json, write_bytes
from ns_jax.parallel.agreement import check_agreement
from ns_jax.parallel.hosts import is_lead, on_lead
from ns_jax.parallel.mesh import check_divides, make_mesh
from ns_jax.report.progress import say
from ns_jax.report.results import results_table
from ns_jax.run.iteration import Iteration, check_classes
from ns_jax.stages import evaluate, finetune, label, select, train

RUN = {"label": label.run, "select": select.run, "train": train.run, "finetune": finetune.run, "evaluate": evaluate.run}


def run(config, workdir: epath.Path) -> None:
    """Runs what is missing of every iteration, then writes the report.

    Args:
      config: a valid one, see configs/common.py.
      workdir: holds everything that the run makes; an interrupted run continues there.

    Raises:
      UserError: the config, the data or the workdir cannot be used as they are, or hosts differ.
    """
    check_agreement(lockstep_fingerprint(config), str(workdir))
    on_lead(lambda: claim_workdir(workdir, config))
    teacher, plan = None, []
    for name, one in iterations(config):
        folder = workdir / name if name else workdir
        taught_by = None
        if one.data.unlabeled:
            taught_by = teacher or epath.Path(one.teacher)
        mesh = make_mesh(one.parallel.shard_state)
        plan.append(Iteration(name, one, folder, workdir, taught_by, mesh, fingerprint(config)))
        teacher = plan[-1].result_dir
    for iteration in plan:
        check(iteration)
    for iteration in plan:
        for stage in iteration.config.stages:
            if not iteration.has_stored_labels and stage in ("label", "select"):
                continue
            if stage == "finetune" and not iteration.config.finetune.epochs:
                continue
            RUN[stage](iteration)
    if is_lead():
        report(plan, workdir / "report")


def check(iteration: Iteration) -> None:
    """Finds what would stop a later stage before the first one starts.

    Raises:
      UserError: data are missing or do not fit the teacher, or a batch does not divide.
    """
    config, mesh, stages = iteration.config, iteration.mesh, iteration.config.stages
    if {"label", "evaluate"} & set(stages):
        check_divides("eval_batch_size", config.eval_batch_size, mesh)
    labeled = None
    if "train" in stages:
        parts = config.parallel.accumulation_steps
        check_divides("labeled_batch_size", config.labeled_batch_size, mesh, parts)
        if iteration.teacher is not None:
            check_divides("the unlabeled batch", train.unlabeled_batch_size(config), mesh, parts)
        train.bn_groups(config, mesh)
        check_names(config.noise.randaugment_exclude)
        labeled = iteration.open_labeled("labeled")
    if iteration.teacher is not None and {"label", "train"} & set(stages):
        iteration.open("unlabeled")
        if labeled and has_artifact(iteration.teacher):
            names = load_artifact(iteration.teacher).card["class_names"]
            check_classes(f"the teacher {iteration.teacher}", names, labeled)
    if "evaluate" in stages:
        test = iteration.open_labeled("test")
        if labeled:
            check_classes(labeled.name, list(labeled.class_names), test)


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
    students = [one for one in plan if one.has_stored_labels and select.selection_of(one).is_complete()]
    if students:
        from ns_jax.report import plots

        stores = {one.name or "student": label.label_store(one) for one in students}
        shards = {
            name: [store.read_shard(i) for i in range(len(store.manifest()["ranges"]))]
            for name, store in stores.items()
        }
        last = students[-1]
        manifest = select.selection_of(last).manifest()
        class_names = label.label_store(last).manifest()["class_names"]
        confidences = {name: np.concatenate([shard["confidence"] for shard in found]) for name, found in shards.items()}
        plots.plot_confidence(confidences, last.config.min_confidence, folder / "confidence.png")
        plots.plot_balance(
            np.array(manifest["per_class_before"]),
            np.array(manifest["per_class_after"]),
            class_names,
            folder / "balance.png",
        )
        _sample_sheet(last, shards[last.name or "student"], class_names, folder / "samples.png")
    if evaluated or students:
        say(f"report: {folder}")


def _sample_sheet(iteration: Iteration, shards, class_names, path, count: int = 40) -> None:
    """Forty images over the range of confidence, least sure first."""
    from ns_jax.report import plots

    try:  # on the lead host alone, so without iteration.open
        source = open_source(iteration.config.data.unlabeled, iteration.config.data.dir)
    except UserError as error:
        logging.warning("no sheet of samples: %s", error)
        return
    index_of = {one: i for i, one in enumerate(source.ids(np.arange(source.count)).tolist())}
    records = np.concatenate([shard[["id", "label", "confidence"]] for shard in shards])
    order = np.argsort(records["confidence"], kind="stable")
    # Half of the sheet from the least sure tenth: that is where a person can judge the teacher.
    tenth = max(1, len(order) // 10)
    ends = (0, tenth - 1), (tenth, len(order) - 1)
    picks = np.unique(np.concatenate([np.linspace(*pair, count // 2) for pair in ends]).astype(int))
    picked = records[order[picks[picks < len(order)]]]
    images = [source.load(index_of[one])[0].numpy() for one in picked["id"].tolist()]
    titles = [f"{class_names[one['label']]} {one['confidence']:.2f}" for one in picked]
    plots.plot_samples(images, titles, path)
