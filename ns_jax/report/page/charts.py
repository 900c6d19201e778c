"""Charts as inline SVG that takes its text colour from the page, so that they suit light and dark."""

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator, Sequence

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ns_jax.report.page.markup import Markup, element, join

# After Okabe and Ito, whose colours the colour-blind tell apart; all can be seen on white and on black.
COLORS = ("#0d7fc4", "#d98200", "#00986f", "#c55a94", "#8a6fd1", "#c94f1f", "#7a7f87")
MARKERS = "osD^vPX"
INK = "#0a0b0c"  # stands for the page's text colour
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
STYLE = dict.fromkeys(INKED, INK) | {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ns_jax",  # the same names in every run
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "lines.markersize": 4,
    "axes.prop_cycle": cycler(color=COLORS),
}


class Chart:
    """A chart that is being drawn.

    Attributes:
      axis: matplotlib's.
      html: a figure with its caption; set when the drawing is done.
    """

    def __init__(self, axis: Axes):
        self.axis, self.html = axis, Markup("")


@contextlib.contextmanager
def chart(caption: str, size: tuple[float, float] = (4.8, 3.0)) -> Iterator[Chart]:
    """Draws a chart; `size` in inches.

    Args:
      caption: what it shows, which is its text alternative, too.
      size: in inches.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        drawn = Chart(figure.subplots())
        drawn.axis.set_axisbelow(True)
        yield drawn
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    drawn.html = element("figure", to_inline(buffer.getvalue(), caption), element("figcaption", caption))


def to_inline(svg: str, caption: str) -> Markup:
    """An SVG file as an element of the page: its ids are made its own, its size and colour follow the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    own = "c" + hashlib.sha256(f"{caption}{svg}".encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="', f'id="{own}-', svg)
    svg = re.sub(r'href="#', f'href="#{own}-', svg)
    svg = svg.replace("url(#", f"url(#{own}-").replace(INK, "currentColor")
    svg = re.sub(r"font-family: [^;\"]*;?|font: (\d+\w*) [^;\"]*", lambda m: f"font-size: {m[1]}" if m[1] else "", svg)
    label = element("title", caption)
    return Markup(
        re.sub(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", rf'<svg viewBox="\1" role="img">{label}', svg, count=1)
    )


def lines(
    caption: str, curves: dict[str, tuple[np.ndarray, np.ndarray]], x_label: str, y_label: str, log_scale: bool = False
) -> Markup:
    """A line a curve {name: (x, y)}."""
    with chart(caption) as drawn:
        for number, (name, (x, y)) in enumerate(curves.items()):
            marker = MARKERS[number % len(MARKERS)]
            drawn.axis.plot(x, y, label=name, marker=marker, markevery=max(1, len(x) // 6), linewidth=1.4)
        drawn.axis.set_xlabel(x_label)
        drawn.axis.set_ylabel(y_label)
        if log_scale:
            drawn.axis.set_yscale("log")
        drawn.axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        drawn.axis.legend()
    return drawn.html


def points_with_intervals(
    caption: str, names: Sequence[str], values: np.ndarray, ends: np.ndarray, y_label: str, level: float | None = None
) -> Markup:
    """A point with its interval a name; `ends` [N, 2]; `level` is a horizontal line."""
    with chart(caption) as drawn:
        x, axis = np.arange(len(names)), drawn.axis
        distance = np.maximum(np.abs(ends - values[:, None]).T, 0)
        axis.errorbar(x, values, yerr=distance, fmt="o", capsize=5, markersize=6, linewidth=1.6)
        for place, value in zip(x, values, strict=True):
            axis.annotate(f"{value:.1f}", (place, value), textcoords="offset points", xytext=(8, -3))
        if level is not None and level > min(ends.min(), values.min()) - 20:
            axis.axhline(level, color=COLORS[-1], linestyle="--", linewidth=1.2, label="always the most frequent class")
            axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
        axis.set_xticks(x, names)
        axis.set_xlim(-0.5, len(names) - 0.3)
        axis.grid(axis="x", visible=False)
        axis.set_ylabel(y_label)
    return drawn.html


def pairs_of_bars(caption: str, names: Sequence[str], bars: dict[str, np.ndarray], x_label: str) -> Markup:
    """Two or more bars a name, {legend: values [N]}; names are left out where they are many."""
    few = len(names) <= 25
    with chart(caption, (4.8, 3.0) if len(names) <= 12 else (7.2, 3.2)) as drawn:
        x, width, axis = np.arange(len(names)), 0.8 / len(bars), drawn.axis
        for number, (name, values) in enumerate(bars.items()):
            axis.bar(x + (number - (len(bars) - 1) / 2) * width, values, width, label=name)
        if few:
            long = sum(len(name) for name in names) > 50
            axis.set_xticks(x, [name[:18] for name in names], rotation=90 if long else 0)
        axis.grid(axis="x", visible=False)
        axis.set_xlabel(x_label)
        axis.set_ylabel("images")
        axis.set_ylim(top=1.25 * max(1, *(values.max() for values in bars.values())))
        axis.legend(ncols=len(bars), loc="upper left")
    return drawn.html


def reliability(caption: str, curves: dict[str, dict[str, np.ndarray]]) -> Markup:
    """Accuracy over confidence, {name: bins as calibration_bins gives}; a dot is larger where there are more images."""
    with chart(caption) as drawn:
        axis = drawn.axis
        axis.plot([0, 1], [0, 1], color=COLORS[-1], linestyle="--", linewidth=1, label="perfectly calibrated")
        for number, (name, bins) in enumerate(curves.items()):
            full = bins["count"] > 0
            x, y, count = (bins[key][full] for key in ("confidence", "accuracy", "count"))
            color, marker = COLORS[number], MARKERS[number]
            axis.plot(x, y, color=color, linewidth=1.2)
            axis.scatter(x, y, 12 + 90 * count / count.max(), color=color, marker=marker, alpha=0.8, label=name)
        axis.set_xlabel("confidence")
        axis.set_ylabel("accuracy")
        axis.set_xlim(0, 1.02)
        axis.set_ylim(0, 1.05)
        legend = axis.legend(loc="best")
        for handle in legend.legend_handles[1:]:
            handle.set_sizes([30])
    return drawn.html


def histograms(caption: str, counts: dict[str, np.ndarray], threshold: float, x_label: str) -> Markup:
    """Outlines of histograms over [0, 1], of the counts in as many equal bins; `threshold` is a vertical line."""
    with chart(caption) as drawn:
        for name, of_name in counts.items():
            bins = np.linspace(0, 1, len(of_name) + 1)
            drawn.axis.hist(bins[:-1], bins=bins, weights=of_name, histtype="step", linewidth=1.5, label=name)
        if threshold > 0:
            drawn.axis.axvline(threshold, color=COLORS[-1], linestyle="--", label=f"kept above {threshold:g}")
        drawn.axis.set_xlabel(x_label)
        drawn.axis.set_ylabel("images")
        drawn.axis.set_yscale("log")
        drawn.axis.legend(loc="upper left")
    return drawn.html


def side_by_side(*charts: Markup) -> Markup:
    """Charts beside each other where the screen is wide enough."""
    return element("div", join([each for each in charts if each]), class_="charts")
