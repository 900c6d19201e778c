"""Text tables of results."""

from scipy.stats import binomtest


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson), both ends in [0, 1]."""
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def results_table(results: list[dict]) -> str:
    """One line per iteration, from classification results that the evaluate stage writes."""
    header = ["iteration", "student", "ratio", "pseudo-labels kept", "test top-1", "95 % interval"]
    lines = []
    for result in results:
        low, high = wilson_interval(result["correct"], result["count"])
        ratio, labels = result["unlabeled_ratio"], result["pseudo_labels"]
        lines.append(
            [
                result["iteration"],
                result["variant"],
                f"{ratio}:1" if ratio else "-",
                f"{result['pseudo_labels_kept']} of {labels}" if labels else "-",
                f"{100 * result['top1']:.1f} %",
                f"{100 * low:.1f} to {100 * high:.1f}",
            ]
        )
    return markdown_table(header, lines)


def numbers_table(results: list[dict]) -> str:
    """One line per iteration, a column for each number that an evaluation of one's own has measured."""
    columns = list(
        dict.fromkeys(key for result in results for key, value in result.items() if isinstance(value, float))
    )
    lines = [
        [result["iteration"], *(f"{result[key]:.4g}" if key in result else "-" for key in columns)]
        for result in results
    ]
    return markdown_table(["iteration", *columns], lines)
