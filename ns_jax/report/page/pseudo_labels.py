"""What the teachers said of the unlabeled images, and how much of it was trained on."""

import numpy as np

from ns_jax.artifact.class_names import readable_name
from ns_jax.report.page import charts
from ns_jax.report.page.markup import Markup, details, join, paragraph, table
from ns_jax.report.page.run_data import PageIteration, PageRun

MAX_ROWS, SHOWN = 50, 20


def section(run: PageRun) -> Markup:
    """The yield of each student's selection; charts of the last one."""
    students = run.students
    if not students:
        return Markup("")
    last = students[-1]
    parts = [yield_of_students(students)]
    if excluded := [student for student in students if student.collected.exclude is None]:
        parts.append(
            paragraph(
                "Duplicates of test images among the unlabeled ones were not looked for: "
                "python -m ns_jax.deduplicate finds them."
                if len(excluded) == len(students)
                else "Duplicates of test images were not looked for in every iteration.",
                class_="note",
            )
        )
    names, before, after = per_class(last)
    order = np.argsort(-before, kind="stable")
    parts.append(
        charts.side_by_side(
            charts.pairs_of_bars(
                f"Pseudo-labels per class that {last.title} was given, before and after selection (with copies)",
                [names[k] for k in order],
                {"pseudo-labeled": before[order], "trained on": after[order]},
                "class by pseudo-label",
            ),
            charts.histograms(
                "How sure the teachers were of the unlabeled images",
                {f"for {student.title}": student.collected.labels.histogram for student in students},
                last.collected.min_confidence,
                "confidence",
            ),
        )
    )
    parts.append(details("Yield per class", yield_table(names, before, after, order, last.title)))
    return join(parts)


def per_class(student: PageIteration) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Class names, images pseudo-labeled, and images trained on with copies."""
    labels = student.collected.labels
    selection = labels.selection
    names = [readable_name(name) for name in labels.class_names]
    return names, np.array(selection["per_class_before"]), np.array(selection["per_class_after"])


def yield_of_students(students: list[PageIteration]) -> Markup:
    """How much each selection kept."""
    rows = []
    for student in students:
        labels = student.collected.labels
        selection = labels.selection
        count = labels.count
        kept, copies = selection.get("kept"), int(np.sum(selection["per_class_after"]))
        rows.append(
            [
                student.title,
                f"{count:,}",
                "-" if kept is None else f"{kept:,} ({100 * kept / max(1, count):.0f} %)",
                f"{copies:,}",
                f"{100 * labels.mean_confidence:.1f} %" if count else "-",
            ]
        )
    header = ["iteration", "pseudo-labels", "kept", "with copies", "mean confidence"]
    return table(header, rows, "Pseudo-labels that each student was given")


def yield_table(names: list[str], before: np.ndarray, after: np.ndarray, order: np.ndarray, title: str) -> Markup:
    """A row a class; of many classes those with the most and the fewest pseudo-labels."""
    some = order if len(order) <= MAX_ROWS else np.concatenate([order[:SHOWN], order[-SHOWN:]])
    rows = [
        [names[k], f"{before[k]:,}", f"{after[k]:,}", f"{after[k] / before[k]:.2f}" if before[k] else "-"] for k in some
    ]
    caption = f"Pseudo-labels of {title} per class"
    if len(some) < len(order):
        caption += f": the {SHOWN} classes with the most and the {SHOWN} with the fewest, of {len(order):,}"
    return table(["class", "pseudo-labeled", "trained on, with copies", "ratio"], rows, caption)
