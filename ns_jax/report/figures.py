"""The figures in WORKDIR/report. Each function draws a figure and writes it as PNG."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ns_jax.files import write_bytes
from ns_jax.pseudo_labels.survey import BINS
from ns_jax.report.results import wilson_interval


def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6, 3.6)):
    """(figure, its axes), drawn without a screen and without pyplot's global state."""
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=rows == columns == 1)


def save(figure, path) -> None:
    """Writes a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    write_bytes(path, buffer.getvalue())


def plot_accuracy(results: list[dict], path) -> None:
    """Draws test top-1 per iteration with its 95 % interval; `results` as in `results_table`."""
    figure, axis = new_figure()
    top1 = np.array([result["top1"] for result in results])
    ends = np.array([wilson_interval(result["correct"], result["count"]) for result in results])
    axis.errorbar(
        range(len(results)),
        100 * top1,
        yerr=100 * np.abs(ends - top1[:, None]).T,
        fmt="o-",
        capsize=4,
        color="tab:blue",
    )
    names = [
        "teacher" if not result["unlabeled_ratio"] else result["iteration"].replace("iteration_", "student ")
        for result in results
    ]
    axis.set_xticks(range(len(results)), names)
    for x, value in enumerate(top1):
        axis.annotate(f"{100 * value:.1f}", (x, 100 * value), textcoords="offset points", xytext=(8, 4))
    axis.set_ylabel("test top-1, %")
    axis.set_title(f"Accuracy per iteration ({results[0]['count']:,} test images, 95 % intervals)")
    axis.grid(alpha=0.3)
    save(figure, path)


def plot_confidence(histograms: dict[str, np.ndarray], threshold: float, path) -> None:
    """Draws the teachers' confidence, one line per iteration, with the filter's threshold.

    Args:
      histograms: {iteration: int64 [50], images in `ns_jax.pseudo_labels.survey.BINS`}.
      threshold: of the filter.
      path: of the picture.
    """
    figure, axis = new_figure()
    for name, counts in histograms.items():
        axis.hist(BINS[:-1], bins=BINS, weights=counts, histtype="step", linewidth=1.5, label=name)
    axis.axvline(threshold, color="black", linestyle="--", label=f"kept above {threshold:g}")
    axis.set_xlabel("teacher's confidence")
    axis.set_ylabel("unlabeled images")
    axis.set_yscale("log")
    axis.legend()
    save(figure, path)


def plot_balance(before: np.ndarray, after: np.ndarray, class_names: list[str], path) -> None:
    """Draws images per class: pseudo-labeled, and trained on after filter and balance (copies counted)."""
    figure, axis = new_figure()
    order = np.argsort(-before)
    x = np.arange(len(before))
    axis.bar(x - 0.2, before[order], 0.4, label="pseudo-labeled")
    axis.bar(x + 0.2, after[order], 0.4, label="after filter and balance")
    if len(x) <= 40:
        axis.set_xticks(x, [class_names[i] for i in order], rotation=0 if len(x) <= 12 else 90)
    axis.set_xlabel("class by pseudo-label")
    axis.set_ylabel("images")
    axis.legend(loc="lower right")
    save(figure, path)


def plot_samples(images: list[np.ndarray], titles: list[str], path) -> None:
    """Draws a sheet of pseudo-labeled images, uint8 [H, W, 3] each."""
    columns = 10
    rows = -(-len(images) // columns)
    figure, axes = new_figure(rows, columns, (columns, 1.3 * rows))
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=7)
    save(figure, path)
