"""Text tables of results."""

import math


def wilson_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson), both ends in [0, 1]."""
    p = correct / total
    centre = p + z * z / (2 * total)
    spread = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    line = lambda row: "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def results_table(results: list[dict]) -> str:
    """One row an iteration, from the dictionaries that the evaluate stage writes."""
    header = ["iteration", "student", "ratio", "pseudo-labels kept", "test top-1", "95 % interval"]
    rows = []
    for result in results:
        low, high = wilson_interval(result["correct"], result["count"])
        ratio, kept = result["unlabeled_ratio"], result["pseudo_labels_kept"]
        rows.append(
            [
                result["iteration"],
                result["variant"],
                f"{ratio}:1" if ratio else "-",
                f"{kept} of {result['pseudo_labels']}" if result["pseudo_labels"] else "-",
                f"{100 * result['top1']:.1f} %",
                f"{100 * low:.1f} to {100 * high:.1f}",
            ]
        )
    return markdown_table(header, rows)
