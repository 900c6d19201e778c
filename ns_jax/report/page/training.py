"""Curves of the trainings."""

from ns_jax.report.page import charts
from ns_jax.report.page.markup import Markup, join, paragraph
from ns_jax.report.page.run_data import PageRun

# Scalar of the training step, to the caption of its chart and its y axis.
SHOWN = {
    "loss": ("Loss", "loss"),
    "accuracy": ("Accuracy on the labeled training images, as noised", "accuracy, %"),
    "teacher_agreement": ("Agreement of student and teacher on noised unlabeled images", "agreement, %"),
}
IN_PERCENT = ("accuracy", "teacher_agreement")


def section(run: PageRun) -> Markup:
    """Loss, accuracy and agreement with the teacher over the steps, a line an iteration."""
    scalars = {iteration.title: iteration.scalars() for iteration in run.iterations}
    drawn = []
    for name, (caption, y_label) in SHOWN.items():
        curves = {}
        for title, of_iteration in scalars.items():
            if name in of_iteration:
                steps, values = of_iteration[name]
                curves[title] = (steps, 100 * values if name in IN_PERCENT else values)
        if curves:
            drawn.append(charts.lines(caption, curves, "step", y_label))
    if not drawn:
        return Markup("")
    note = "A point is the mean of the steps since the one before, on noised images; evaluations are without noise."
    return join([charts.side_by_side(*drawn), paragraph(note, class_="note")])
