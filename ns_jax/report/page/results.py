"""Results of every iteration, a table an evaluation."""

import numpy as np

from ns_jax.report.page import charts
from ns_jax.report.page.intervals import auroc_interval, balanced_accuracy_interval
from ns_jax.report.page.markup import Markup, join, paragraph, table, with_interval
from ns_jax.report.page.run_data import PageIteration, PageRun
from ns_jax.report.page.summary import base_rate
from ns_jax.report.results import wilson_interval

HEADER = ("iteration", "accuracy", "balanced", "AUROC", "F1", "average precision", "ECE", "model", "pseudo-labels kept")


def section(run: PageRun) -> Markup:
    """Tables of all evaluations, the one that counts and its chart first."""
    names = dict.fromkeys(name for iteration in run.iterations for name in iteration.collected.evaluations)
    parts: list[Markup] = []
    for name in sorted(names, key=lambda name: name != run.measured_on):
        tested = [iteration for iteration in run.iterations if name in iteration.collected.evaluations]
        classified = [iteration for iteration in tested if "top1" in iteration.collected.evaluations[name]]
        if classified:
            parts.append(classification_table(run, classified, name))
        else:
            parts.append(numbers(tested, name))
        if name == run.measured_on and classified:
            parts += [explanation(classified), accuracy_chart(classified)]
    return join(parts)


def classification_table(run: PageRun, tested: list[PageIteration], name: str) -> Markup:
    """One row an iteration; the chosen one stands out."""
    count = tested[-1].collected.evaluations[name]["count"]
    chosen = run.chosen
    return table(
        HEADER,
        [row(iteration, name) for iteration in tested],
        f"Evaluation {name}, {count:,} images; below the figures their 95 % intervals",
        marked=[iteration is chosen for iteration in tested],
    )


def row(iteration: PageIteration, name: str) -> list[object]:
    """The cells of an iteration; '-' for what an older run did not measure."""
    result, predictions = iteration.collected.evaluations[name], iteration.predictions(name)
    balanced = auroc = None
    if predictions is not None:
        answers, classes = predictions.probs.argmax(1), predictions.probs.shape[1]
        balanced = balanced_accuracy_interval(predictions.labels, answers, classes)
        auroc = auroc_interval(predictions.probs, predictions.labels)
    kept = f"{result['pseudo_labels_kept']:,} of {result['pseudo_labels']:,}" if result["pseudo_labels"] else "-"
    return [
        iteration.title,
        with_interval(result["top1"], wilson_interval(result["correct"], result["count"])),
        with_interval(result.get("balanced_accuracy"), balanced),
        with_interval(result.get("auroc"), auroc, percent=False),
        with_interval(result.get("macro_f1"), percent=False),
        with_interval(result.get("average_precision"), percent=False),
        with_interval(result.get("ece"), percent=False),
        result["variant"],
        kept,
    ]


def numbers(tested: list[PageIteration], name: str) -> Markup:
    """A column for each number that an evaluation of one's own has measured."""
    results = [iteration.collected.evaluations[name] for iteration in tested]
    columns = list(
        dict.fromkeys(key for result in results for key, value in result.items() if isinstance(value, float))
    )
    rows = [
        [iteration.title, *(f"{result[key]:.4g}" if isinstance(result.get(key), float) else "-" for key in columns)]
        for iteration, result in zip(tested, results, strict=True)
    ]
    return table(["iteration", *columns], rows, f"Evaluation {name}")


def explanation(tested: list[PageIteration]) -> Markup:
    """What the columns mean, and what a constant answer would reach."""
    text = (
        "Balanced: mean of the classes' recalls. F1: mean over classes. AUROC and average precision: of "
        + ("the second class" if _num_classes(tested[-1]) == 2 else "each class against the rest, mean")
        + ". ECE: mean distance of confidence and accuracy, 0 is best."
    )
    rate = base_rate(tested[-1].result)
    if rate is not None:
        text += f" Always answering the most frequent class would reach {100 * rate[0]:.1f} %."
    return paragraph(text, class_="note")


def _num_classes(iteration: PageIteration) -> int:
    return len(iteration.result.get("per_class", {}).get("support", ()))


def accuracy_chart(tested: list[PageIteration]) -> Markup:
    """Accuracy of the iterations with their intervals."""
    results = [iteration.result for iteration in tested]
    ends = 100 * np.array([wilson_interval(result["correct"], result["count"]) for result in results])
    rate = base_rate(results[-1])
    return charts.points_with_intervals(
        f"Accuracy on the {tested[-1].images}, with 95 % intervals",
        [iteration.title for iteration in tested],
        100 * np.array([result["top1"] for result in results]),
        ends,
        "accuracy, %",
        None if rate is None else 100 * rate[0],
    )
