"""The first section: what came out, in one sentence, and what to beware of."""

import numpy as np

from ns_jax.evaluators.predictions import Predictions
from ns_jax.report.page.intervals import difference_interval
from ns_jax.report.page.markup import Markup, count_of, element, join, paragraph
from ns_jax.report.page.run_data import TEST, PageIteration, PageRun
from ns_jax.report.results import wilson_interval


def section(run: PageRun) -> Markup:
    """The summary and the warnings."""
    parts = [paragraph(sentence(run), class_="summary")]
    for text in warnings(run):
        parts.append(element("p", element("strong", "Beware: "), text, class_="warning", role="note"))
    if text := how_chosen(run):
        parts.append(paragraph(text))
    return join(parts)


def sentence(run: PageRun) -> str:
    """What the chosen model reaches, beside its teacher and the control."""
    chosen = run.chosen
    if chosen is None or chosen.result is None:
        return "Nothing has been evaluated yet."
    test = chosen.result
    low, high = wilson_interval(test["correct"], test["count"])
    text = (
        f"{chosen.title[:1].upper()}{chosen.title[1:]} ({test['variant']}) reaches {100 * test['top1']:.1f} % "
        f"({100 * low:.1f} to {100 * high:.1f}) on {count_of(test['count'], f'{chosen.measured_on} image')}"
    )
    others = [(run.teacher_of(chosen), "its teacher"), (run.control, "the supervised control")]
    compared = [
        compare(chosen, other, name) for other, name in others if other and other.result and other is not chosen
    ]
    text += f"{', ' if compared else ''}{' and '.join(compared)}"
    later = run.tested[run.tested.index(chosen) + 1 :]
    if "by" in run.choice and any(run.teacher_of(iteration) for iteration in later):
        text += "; no later student was better on the validation images"
    return f"{text}."


def compare(iteration: PageIteration, other: PageIteration, name: str) -> str:
    """'2.3 points above its teacher (0.4 to 4.2)'."""
    points = 100 * (iteration.result["top1"] - other.result["top1"])
    interval = paired_interval(iteration.predictions(), other.predictions())
    if abs(points) < 0.05:
        return f"level with {name}"
    side = "above" if points > 0 else "below"
    if interval is None:
        return f"{abs(points):.1f} points {side} {name}"
    low, high = sorted(np.sign(points) * 100 * np.array(interval))
    return f"{abs(points):.1f} points {side} {name} ({low:.1f} to {high:.1f})"


def paired_interval(predictions: Predictions | None, other: Predictions | None) -> tuple[float, float] | None:
    """Interval of the difference of accuracies; None where predictions of the same images are not there."""
    if predictions is None or other is None or not np.array_equal(predictions.ids, other.ids):
        return None
    correct, correct_of_other = (each.probs.argmax(1) == each.labels for each in (predictions, other))
    return difference_interval(correct, correct_of_other)


def warnings(run: PageRun) -> list[str]:
    """Those of the choice, and what the test set and the selections show."""
    return [*run.choice.get("warnings", ()), *worse_than_teacher(run), *worse_than_constant(run), *empty_classes(run)]


def worse_than_teacher(run: PageRun) -> list[str]:
    """Students that are below their teacher on the test set by more than chance."""
    lines = []
    for student in run.tested:
        teacher = run.teacher_of(student)
        if teacher is None or teacher.result is None:
            continue
        interval = paired_interval(student.predictions(), teacher.predictions())
        if interval is not None and interval[1] < 0:
            lines.append(f"on the {student.images} {student.title} is {compare(student, teacher, teacher.title)}.")
    return lines


def base_rate(result: dict) -> tuple[float, int] | None:
    """Accuracy of always answering the most frequent class of the test set, and that class; None where not known."""
    if "per_class" not in result:
        return None
    support = result["per_class"]["support"]
    return max(support) / sum(support), int(np.argmax(support))


def worse_than_constant(run: PageRun) -> list[str]:
    """A chosen model that is no better than always the same answer."""
    chosen = run.chosen
    rate = base_rate(chosen.result) if chosen and chosen.result else None
    if rate is None or wilson_interval(chosen.result["correct"], chosen.result["count"])[0] > rate[0]:
        return []
    return [
        f"{chosen.title} is not clearly better than always answering the most frequent class, which is right for "
        f"{100 * rate[0]:.1f} % of the {chosen.images}."
    ]


def empty_classes(run: PageRun) -> list[str]:
    """Students for which no pseudo-label of a class was kept."""
    lines = []
    for student in run.students:
        labels = student.collected.labels
        empty = [
            name
            for name, count in zip(labels.class_names, labels.selection["per_class_after"], strict=True)
            if not count
        ]
        if empty:
            more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
            lines.append(f"{student.title} saw no pseudo-label of class {', '.join(empty[:5])}{more}.")
    return lines


def how_chosen(run: PageRun) -> str:
    """Why this model and not another."""
    chosen = run.chosen
    if chosen is None or len(run.tested) < 2:
        return ""
    if "by" not in run.choice:
        return (
            "There are no validation images by which a model could be chosen: the run ends with the last one, whether "
            "or not it is the best."
        )
    titles = {iteration.name: iteration.title for iteration in run.iterations}
    values = ", ".join(f"{titles.get(name, name)} {value:.4g}" for name, value in run.choice.get("values", {}).items())
    role = (
        "the test images had no part in it"
        if run.measured_on == TEST
        else "so these images chose the model that is measured on them, and new images will be a little harder"
    )
    return f"Chosen by {run.choice['by']}{f' ({values})' if values else ''}; {role}."
