"""The table and the picture of the findings, from the records that are kept."""

import collections
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import paired
from benchmarks.paired import AGREES, DISAGREES, OPEN, Difference, verdict
from benchmarks.study.findings import FINDINGS, Contrast, Finding
from benchmarks.study.models import TEACHER, model_of
from ns_jax.errors import UserError
from ns_jax.report.figures import new_figure, save
from ns_jax.report.results import markdown_table

BEGIN, END = "<!-- made by benchmarks.findings, do not edit -->", "<!-- end -->"


@dataclasses.dataclass(frozen=True)
class Study:
    """What is known of the findings.

    Attributes:
      labels: of each class.
      source, commits: of the code that made it.
      processors: on which it was made.
      seeds: of which there are records.
      cells: {row: {seed: top-1 in %, or why it failed}}.
      hours: that the models took together.
      num_models: how many these are.
      others: what other records there are, a line each.
    """

    labels: int
    source: str
    commits: tuple[str, ...]
    processors: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: dict[str, dict[int, float | str]]
    hours: float
    num_models: int
    others: tuple[str, ...]


def paired_difference(better: dict, worse: dict) -> Difference | None:
    """Of two rows of `Study.cells`; None where no seed has both."""
    seeds = [seed for seed in better if isinstance(better[seed], float) and isinstance(worse.get(seed), float)]
    if not seeds:
        return None
    return paired.difference_of([better[seed] for seed in seeds], [worse[seed] for seed in seeds])


def collect(records: Sequence[dict], labels: int, source: str = "", change: Callable = lambda config: None) -> Study:
    """The records of one source that are of today's configs; all others are counted.

    Args:
      records: see records.py.
      labels: of each class.
      source: hash of the code; '': the one of which there are the most records.
      change: see `model_of`.

    Raises:
      UserError: there are none.
    """
    by_source = collections.Counter(record["source"] for record in records if record["labels"] == labels)
    if not by_source or (source and source not in by_source):
        raise UserError(
            f"there are no records with {labels} labels a class" + (f" of source {source}" if source else "")
        )
    source = source or by_source.most_common(1)[0][0]
    chosen = {record["key"]: record for record in records if record["source"] == source and record["labels"] == labels}
    seeds = sorted({record["seed"] for record in chosen.values()})
    rows = list(dict.fromkeys(row for finding in FINDINGS for row in finding.all_rows))
    cells: dict[str, dict[int, float | str]] = {row: {} for row in rows}
    used: dict[str, dict] = {}
    for row in rows:
        for seed in seeds:
            for model in model_of(row, seed, labels, change).with_teachers():
                record = chosen.get(model.key)
                if record is None:
                    cells[row].pop(seed, None)
                    break
                used[model.key] = record
                cells[row][seed] = record["failed"] if "failed" in record else float(record["top1"])
                if "failed" in record:
                    break
    unused = [record for record in records if record["key"] not in used or record["source"] != source]
    seconds = sum(sum(record.get("seconds", {}).values()) for record in used.values())
    return Study(
        labels=labels,
        source=source,
        commits=tuple(sorted({record["commit"] for record in used.values()})),
        processors=tuple(sorted({record["processor"] for record in used.values()})),
        seeds=tuple(seeds),
        cells=cells,
        hours=seconds / 3600,
        num_models=len(used),
        others=tuple(_describe_others(unused, source, labels)),
    )


def _describe_others(unused: Sequence[dict], source: str, labels: int) -> list[str]:
    """A line for each kind of record that is not shown."""
    kinds = collections.Counter(
        f"commit {record['commit']} (source {record['source']}), {record['labels']} labels a class"
        if record["source"] != source or record["labels"] != labels
        else f"commit {record['commit']}, another config"
        for record in unused
    )
    return [f"{count} of {kind}" for kind, count in sorted(kinds.items())]


def text(study: Study) -> str:
    """The tables in Markdown: the findings, then every row seed by seed, then what was left out."""
    parts = [
        f"{study.labels} labels a class, seeds and draws {', '.join(map(str, study.seeds))}; commit "
        f"{', '.join(study.commits)}; {study.num_models} models, {study.hours:.1f} hours on "
        f"{', '.join(study.processors)}.",
        findings_table(study),
        f"{sum(is_decided(study, finding) for finding in FINDINGS)} of {len(FINDINGS)} are decided.",
        rows_table(study),
    ]
    failed = [
        f"- {row}, seed {seed}: {cell}"
        for row, by_seed in study.cells.items()
        for seed, cell in by_seed.items()
        if isinstance(cell, str)
    ]
    if failed:
        parts.append("\n".join(["Failed:", "", *failed]))
    if study.others:
        parts.append("\n".join(["Records that are not shown:", "", *(f"- {line}" for line in study.others)]))
    return "\n\n".join(parts)


def difference_of(study: Study, contrast: Contrast) -> Difference | None:
    return paired_difference(study.cells[contrast.better], study.cells[contrast.worse])


def is_decided(study: Study, finding: Finding) -> bool:
    """Whether the finding's first comparison is decided, either way."""
    return verdict(difference_of(study, finding.contrasts[0])) != OPEN


def findings_table(study: Study) -> str:
    """A line for each comparison."""
    rows = []
    for finding in FINDINGS:
        for number, contrast in enumerate(finding.contrasts):
            difference = difference_of(study, contrast)
            title = "" if number else f"{finding.name}: {finding.title}"
            if difference is None:
                rows.append([title, contrast.title, contrast.paper, "-", "-", _reason(study, contrast)])
                continue
            interval = f"{difference.low:+.2f} to {difference.high:+.2f}" if len(difference.values) > 1 else "one seed"
            rows.append(
                [title, contrast.title, contrast.paper, f"{difference.mean:+.2f}", interval, verdict(difference)]
            )
    return markdown_table(["finding", "better, worse", "paper", "here", "95 % interval", "verdict"], rows)


def _reason(study: Study, contrast: Contrast) -> str:
    """Why a comparison has no figure: a run has failed, or none was made."""
    cells = [*study.cells[contrast.better].values(), *study.cells[contrast.worse].values()]
    return "failed" if any(isinstance(cell, str) for cell in cells) else "not run"


def rows_table(study: Study) -> str:
    """Top-1 of every row, seed by seed."""
    rows = []
    for row, by_seed in study.cells.items():
        cells = [_cell(by_seed.get(seed)) for seed in study.seeds]
        values = [value for value in by_seed.values() if isinstance(value, float)]
        name = row.removeprefix("ablation_").replace(TEACHER, ", its teacher")
        rows.append([name, *cells, f"{statistics.mean(values):.2f}" if values else "-"])
    return markdown_table(["top-1, %", *(f"seed {seed}" for seed in study.seeds), "mean"], rows)


def _cell(value: float | str | None) -> str:
    if value is None:
        return "-"
    return "failed" if isinstance(value, str) else f"{value:.2f}"


def write_into(document: Path, made: str) -> None:
    """Replaces what stands between the marks in a document; one without marks is left alone."""
    if not document.exists():
        return
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        document.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")


def draw(study: Study, to) -> None:
    """Draws the difference of each comparison with its interval and each seed's value."""
    drawn = [
        (f"{finding.name}: {contrast.title}", difference)
        for finding in FINDINGS
        for contrast in finding.contrasts
        if (difference := difference_of(study, contrast)) is not None
    ]
    figure, axis = new_figure(size=(8, 0.32 * len(drawn) + 1.2))
    colors = {AGREES: "tab:green", DISAGREES: "tab:red", OPEN: "tab:gray"}
    for place, (_, difference) in enumerate(drawn):
        color = colors[verdict(difference)]
        half_width = difference.half_width if len(difference.values) > 1 else 0.0
        axis.errorbar(difference.mean, place, xerr=half_width, fmt="o", color=color, capsize=4)
        axis.plot(difference.values, [place + 0.22] * len(difference.values), "|", color=color, alpha=0.7)
    axis.axvline(0, color="black", linewidth=0.8)
    # An interval over two seeds is so wide that nothing else would be seen.
    widest = 1.3 * max(abs(value) for _, difference in drawn for value in difference.values)
    axis.set_xlim(-widest, widest)
    axis.set_yticks(range(len(drawn)), [title for title, _ in drawn])
    axis.invert_yaxis()
    axis.set_xlabel(
        f"points of top-1 that the first is better than the second, 95 % interval over {len(study.seeds)} seeds"
    )
    axis.set_title("green: as in the paper; red: the other way; grey: not decided")
    axis.grid(alpha=0.3)
    save(figure, to)
