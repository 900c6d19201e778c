"""Figures per class, and which classes are taken for which."""

import numpy as np

from ns_jax.artifact.class_names import readable_name
from ns_jax.evaluators.predictions import Predictions
from ns_jax.report.page.markup import Markup, details, element, join, paragraph, table
from ns_jax.report.page.run_data import PageIteration, PageRun

MAX_ROWS, SHOWN = 50, 20  # of more classes only the worst and the best are shown
MAX_MATRIX = 25  # classes of which the matrix can be read
PAIRS = 20


def section(run: PageRun) -> Markup:
    """Of the chosen model, on the images that count."""
    chosen = run.chosen
    if chosen is None or chosen.result is None or "per_class" not in chosen.result:
        return Markup("")
    predictions = chosen.predictions()
    if predictions is None:
        return Markup("")
    parts = [
        paragraph(f"{chosen.title[:1].upper()}{chosen.title[1:]} on the {chosen.images}."),
        per_class(run, chosen, predictions),
    ]
    confusion = confusion_counts(predictions)
    if len(confusion) <= MAX_MATRIX:
        parts.append(matrix(confusion, predictions.class_names))
    if len(confusion) > 2:
        parts.append(confused_pairs(confusion, predictions.class_names))
    return join(parts)


def per_class(run: PageRun, chosen: PageIteration, predictions: Predictions) -> Markup:
    """Precision, recall and F1 of each class, worst F1 first; of many classes the worst and the best."""
    figures = chosen.result["per_class"]
    teacher = run.teacher_of(chosen)
    before = (teacher.result or {}).get("per_class") if teacher else None
    tested = [k for k in np.argsort(figures["f1"], kind="stable").tolist() if figures["support"][k]]

    def row(k: int) -> list[object]:
        cells: list[object] = [readable_name(predictions.class_names[k]), f"{figures['support'][k]:,}"]
        cells += [f"{100 * figures[key][k]:.1f} %" for key in ("precision", "recall", "f1")]
        if before:
            cells.append(f"{100 * (figures['f1'][k] - before['f1'][k]):+.1f}")
        return cells

    header = ["class", "images", "precision", "recall", "F1", *(["F1 against teacher"] if before else [])]
    if len(tested) <= MAX_ROWS:
        return table(header, [row(k) for k in tested], "Figures per class, lowest F1 first")
    return join(
        [
            table(header, [row(k) for k in tested[:SHOWN]], f"The {SHOWN} classes of lowest F1, of {len(tested):,}"),
            details(
                f"The {SHOWN} classes of highest F1",
                table(header, [row(k) for k in tested[: -SHOWN - 1 : -1]], f"The {SHOWN} classes of highest F1"),
            ),
        ]
    )


def confusion_counts(predictions: Predictions) -> np.ndarray:
    """int64 [label, answer]."""
    classes = len(predictions.class_names)
    places = predictions.labels.astype(np.int64) * classes + predictions.probs.argmax(1)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def matrix(confusion: np.ndarray, class_names: tuple[str, ...]) -> Markup:
    """The confusion matrix; a cell is darker the larger its share of the row."""
    names = [readable_name(name) for name in class_names]
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    rows = []
    for label, name in enumerate(names):
        cells = [
            element(
                "td",
                f"{confusion[label, answer]:,}" if confusion[label, answer] else "",
                class_=("figure right" if label == answer else "figure wrong"),
                style=f"--share:{part:.3f}",
                title=f"{name} taken for {names[answer]}: {confusion[label, answer]:,} ({100 * part:.1f} %)",
            )
            for answer, part in enumerate(share[label])
        ]
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    heads = [element("th", name, scope="col", class_="figure") for name in names]
    caption = "Confusion matrix: a row is what an image is, a column what it was taken for"
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", element("th", "is, taken for", scope="col"), *heads)),
        element("tbody", join(rows)),
        class_="matrix",
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def confused_pairs(confusion: np.ndarray, class_names: tuple[str, ...]) -> Markup:
    """The most frequent mistakes."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows = []
    for label, answer in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[label, answer]:
            share = wrong[label, answer] / confusion[label].sum()
            names = (readable_name(class_names[label]), readable_name(class_names[answer]))
            rows.append([*names, f"{wrong[label, answer]:,}", f"{100 * share:.1f} %"])
    if not rows:
        return Markup("")
    pairs = table(["is", "taken for", "images", "of the class"], rows, "The most frequent mistakes", text_columns=2)
    return details("The most frequent mistakes", pairs)
