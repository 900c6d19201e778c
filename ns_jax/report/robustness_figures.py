"""Pictures of models side by side. Each function draws a figure and writes it as PNG."""

import numpy as np

from ns_jax.report.figures import new_figure, save

Errors = dict[str, dict[str, list[float]]]  # {model: {corruption: error at severity 1 to 5}}


def _grouped_bars(axis, values: dict[str, list[float]], names: list[str]) -> None:
    """Bars of each name beside each other, one a model; `values` has a list in the order of the names for each."""
    width = 0.8 / len(values)
    places = np.arange(len(names))
    for number, (model, heights) in enumerate(values.items()):
        axis.bar(places + (number - (len(values) - 1) / 2) * width, heights, width, label=model)
    axis.set_xticks(places, [name.replace("_", " ") for name in names], rotation=60, ha="right")
    axis.legend()
    axis.grid(axis="y", alpha=0.3)


def plot_corruptions(errors: Errors, path) -> None:
    """Draws the mean error of each corruption as bars."""
    figure, axis = new_figure(size=(9, 4))
    names = list(next(iter(errors.values())))
    means = {model: [100 * float(np.mean(own[name])) for name in names] for model, own in errors.items()}
    _grouped_bars(axis, means, names)
    axis.set_ylabel("error, %, mean over 5 severities")
    save(figure, path)


def plot_severities(errors: Errors, path) -> None:
    """Draws the accuracy against severity, mean over the corruptions."""
    figure, axis = new_figure()
    for model, own in errors.items():
        by_severity = 100 * (1 - np.mean(list(own.values()), axis=0))
        axis.plot(range(1, len(by_severity) + 1), by_severity, "o-", label=model)
    axis.set_xticks(range(1, 6))
    axis.set_xlabel("severity")
    axis.set_ylabel("top-1, %, mean over the corruptions")
    axis.grid(alpha=0.3)
    axis.legend()
    save(figure, path)


def plot_flips(flips: dict[str, dict[str, float]], path) -> None:
    """Draws the flip probability of each perturbation as bars."""
    figure, axis = new_figure(size=(8, 4))
    names = list(next(iter(flips.values())))
    _grouped_bars(axis, {model: [100 * own[name] for name in names] for model, own in flips.items()}, names)
    axis.set_ylabel("flip probability, %")
    save(figure, path)


def plot_epsilons(curves: dict[str, tuple[list[float], list[float]]], attack: str, path) -> None:
    """Draws the accuracy against epsilon, as the paper's figure of FGSM."""
    figure, axis = new_figure()
    for model, (epsilons, accuracies) in curves.items():
        axis.plot(epsilons, [100 * accuracy for accuracy in accuracies], "o-", label=model)
    axis.set_xlabel(f"epsilon of {attack}, on 0..255")
    axis.set_ylabel("top-1, %")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend()
    save(figure, path)


def plot_reliability(bins: dict[str, dict[str, list[float]]], path) -> None:
    """Draws a reliability diagram of each model: accuracy against confidence, by bins of confidence."""
    figure, axes = new_figure(1, len(bins), (3.6 * len(bins), 3.6))
    for axis, (model, own) in zip(np.atleast_1d(axes).flat, bins.items(), strict=True):
        count, width = np.array(own["count"]), 1 / len(own["count"])
        left = np.arange(len(count)) * width
        there = count > 0
        axis.bar(left[there], np.array(own["accuracy"])[there], width, align="edge", alpha=0.7, edgecolor="white")
        axis.plot(np.array(own["confidence"])[there], np.array(own["accuracy"])[there], "ko", markersize=3)
        axis.plot([0, 1], [0, 1], "k--", linewidth=1)
        axis.set_title(model)
        axis.set_xlabel("confidence")
        axis.set_ylabel("accuracy")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
    figure.tight_layout()
    save(figure, path)


def plot_risks(curves: dict[str, tuple[list[float], list[float]]], path) -> None:
    """Draws the share of wrong answers among the surest against how many are answered."""
    figure, axis = new_figure()
    for model, (coverages, risks) in curves.items():
        axis.plot([100 * coverage for coverage in coverages], [100 * risk for risk in risks], "o-", label=model)
    axis.set_xlabel("answered, %, the surest first")
    axis.set_ylabel("wrong of them, %")
    axis.grid(alpha=0.3)
    axis.legend()
    save(figure, path)


def plot_disagreements(images: list[np.ndarray], titles: list[str], path) -> None:
    """Draws a sheet of images, uint8 [H, W, 3] each, with what two models say (as the paper's Figure 3)."""
    columns = 6
    rows = -(-len(images) // columns)
    figure, axes = new_figure(rows, columns, (1.9 * columns, 2.3 * rows))
    for axis in np.atleast_1d(axes).flat:
        axis.axis("off")
    for axis, image, title in zip(np.atleast_1d(axes).flat, images, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=7)
    figure.tight_layout()
    save(figure, path)
