"""The report of a run: WORKDIR/report with a table, pictures, pseudo-labels and a page."""

import numpy as np
from absl import logging
from etils import epath

from ns_jax.data.sources.registry import open_source
from ns_jax.errors import UserError
from ns_jax.files import write_bytes
from ns_jax.report.collect import CollectedIteration, collect_run
from ns_jax.report.images import find_images
from ns_jax.report.progress import say
from ns_jax.report.results import numbers_table, results_table

SAMPLES = 40


def write_report(workdir: epath.Path) -> None:
    """Writes what can be said of the iterations so far, and prints the table."""
    collected, folder = collect_run(workdir), workdir / "report"
    tables = write_tables(collected, folder)
    students = [iteration for iteration in collected if iteration.labels is not None]
    if students:
        draw_pseudo_labels(students, folder)
    if tables or students:
        write_extras(workdir, students)
        say(f"report: {folder}")


def write_extras(workdir: epath.Path, students: list[CollectedIteration]) -> None:
    """Writes the pseudo-labels, labels that look wrong, and the page. What fails is logged, and ends no run."""
    folder = workdir / "report"
    for what, write in (
        ("list of pseudo-labels", lambda: list_labels(workdir, students)),
        ("list of labels that look wrong", lambda: list_label_issues(workdir)),
        ("page", lambda: _write_page(workdir)),
    ):
        try:
            write()
        except Exception:
            logging.warning("report: no %s in %s", what, folder, exc_info=True)


def list_labels(workdir: epath.Path, students: list[CollectedIteration]) -> None:
    """Writes labels.csv and labels.parquet of the last student."""
    if not students:
        return
    from ns_jax.report.labels import MAX_ROWS, write_labels  # pyarrow takes a while to import

    name, source = students[-1].name, None
    try:  # ids are not kept of images in shards
        source = open_source(students[-1].unlabeled, students[-1].data_dir, labels=False)
    except UserError as error:
        logging.warning("no names of images in shards: %s", error)
    ids = source.ids if source else None
    if write_labels(workdir / name if name else workdir, name, workdir / "report", ids) is None:
        say(f"report: no labels.csv, as there are more than {MAX_ROWS:,} pseudo-labels: they are in {name}/labels")


def list_label_issues(workdir: epath.Path) -> None:
    """Writes label_issues.csv where there are predictions of labeled images by models that had not seen them."""
    from ns_jax.report.label_issues import write_label_issues
    from ns_jax.report.page.run_data import read_run

    run = read_run(workdir)
    chosen = [run.chosen.folder] if run.chosen else []
    write_label_issues([iteration.folder for iteration in run.iterations] + chosen, workdir / "report")


def _write_page(workdir: epath.Path) -> None:
    from ns_jax.report.page.write import write_page

    write_page(workdir)


def write_tables(collected: list[CollectedIteration], folder: epath.Path) -> str:
    """Writes results.md and the picture of the accuracy; returns the text, empty where nothing was evaluated."""
    names = dict.fromkeys(name for iteration in collected for name in iteration.evaluations)
    parts = []
    for name in sorted(names, key=lambda name: name != "test"):  # that of the test set first
        results = [iteration.evaluations[name] for iteration in collected if name in iteration.evaluations]
        classified = [result for result in results if "top1" in result]
        table = results_table(classified) if classified else numbers_table(results)
        parts.append(table if name == "test" else f"{name}:\n\n{table}")
        if name == "test" and classified:
            from ns_jax.report import figures  # matplotlib is slow to import

            figures.plot_accuracy(classified, folder / "accuracy.png")
    if parts:
        parts += describe_exclusions(collected)
    text = "\n\n".join(parts)
    if text:
        say("\n" + text)
        write_bytes(folder / "results.md", (text + "\n").encode())
    return text


def describe_exclusions(collected: list[CollectedIteration]) -> list[str]:
    """A line for each thing to say of duplicates of test images among the unlabeled ones; none where there are none."""
    names: dict[str, list[str]] = {}  # the line, to the iterations of which it is true
    students = [iteration for iteration in collected if iteration.unlabeled]
    for iteration in students:
        names.setdefault(describe_exclusion(iteration), []).append(iteration.name)
    return [line if len(of) == len(students) else f"{', '.join(of)}: {line}" for line, of in names.items()]


def describe_exclusion(student: CollectedIteration) -> str:
    """Whether duplicates were looked for among a student's unlabeled images, and how many were left out."""
    exclude = student.exclude
    if exclude is None:
        return "Duplicates: not looked for; `python -m ns_jax.deduplicate` finds unlabeled images that are test images."
    near = f", with near-duplicates up to distance {exclude['distance']}" if exclude["distance"] >= 0 else ""
    return (
        f"Duplicates: {exclude['count']} images of {student.unlabeled} left out, which "
        f"{' or '.join(exclude['against'])} holds too ({exclude['file']}{near})."
    )


def draw_pseudo_labels(students: list[CollectedIteration], folder: epath.Path) -> None:
    """Draws the confidences of all teachers, and balance and samples of the last student."""
    from ns_jax.report import figures

    histograms = {student.name or "student": student.labels.histogram for student in students}
    last = students[-1]
    figures.plot_confidence(histograms, last.min_confidence, folder / "confidence.png")
    selection = last.labels.selection
    before, after = np.array(selection["per_class_before"]), np.array(selection["per_class_after"])
    figures.plot_balance(before, after, last.labels.class_names, folder / "balance.png")
    try:
        images, titles = sample_images(last)
    except UserError as error:
        logging.warning("no sheet of samples: %s", error)
        return
    figures.plot_samples(images, titles, folder / "samples.png")


def sample_images(student: CollectedIteration) -> tuple[list[np.ndarray], list[str]]:
    """Images over the range of confidence, least sure first, and what the teacher says of them.

    They are of all images, or of 10,000 at random.

    Raises:
      UserError: the source cannot be opened, or does not hold images.
    """
    labels = student.labels
    source = open_source(student.unlabeled, student.data_dir, labels=False)
    records, ids = labels.samples["random"]
    order = np.lexsort((records["place"], records["confidence"]))
    picked = order[sample_places(len(order))]
    indices = find_images(source, ids[picked], records["index"][picked])
    images = [source.load(np.int64(index))[0].numpy() for index in indices]
    if images[0].ndim != 3 or images[0].shape[-1] not in (1, 3, 4):
        raise UserError(f"{source.name} holds arrays of shape {images[0].shape}, not images")
    titles = [f"{labels.class_names[record['label']]} {record['confidence']:.2f}" for record in records[picked]]
    return images, titles


def sample_places(count: int) -> np.ndarray:
    """Places among `count` images by confidence; half of them in the least sure tenth, where a person can judge."""
    tenth = max(1, count // 10)
    least_sure = np.linspace(0, tenth - 1, SAMPLES // 2)
    others = np.linspace(tenth, count - 1, SAMPLES // 2)
    places = np.unique(np.concatenate([least_sure, others]).astype(int))
    return places[places < count]
