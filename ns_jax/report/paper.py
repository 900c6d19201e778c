"""The figures of the paper (arXiv 1911.04252) by table, read from paper.toml, which says where they come from."""

import dataclasses
import functools
import tomllib
from importlib import resources

MARKS = {"V": "", "D": "*", "N": "~", "R": "?"}
TAGS = {
    "V": "read in a source",
    "D": "derived, as by measuring a vector plot",
    "N": "from notes on the paper, not read in it",
    "R": "recalled, not verified in any source",
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure as the paper prints it, and its tag, a key of TAGS."""

    text: str
    tag: str

    def __str__(self) -> str:
        return self.text + MARKS[self.tag]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      labels: the cells that say what the row is.
      figures: the paper's; None where it has none.
      key: `paper_row` of a run that reproduces the row; None where no run can. Tables that show the
        same experiment share its key.
    """

    labels: tuple[str, ...]
    figures: tuple[Figure | None, ...]
    key: str | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table or a figure of the paper.

    Attributes:
      name: as the command takes it.
      title: what it shows.
      where: its numbers in the versions of the paper.
      labels: heading of `Row.labels`.
      figures: heading of `Row.figures`.
      rows: in the paper's order.
      ours: heading of this project's column, '' for a table without results.
      measure: what stands in it: 'EVALUATION:KEY' of results; {0} is a row's first label, {1} its second, and so on.
      more: further columns of this project, (heading, measure) each.
      notes: below the table.
      no_config: why rows without a key have none.
    """

    name: str
    title: str
    where: str
    labels: tuple[str, ...]
    figures: tuple[str, ...]
    rows: tuple[Row, ...]
    ours: str = "ours: top-1 %"
    measure: str = "test:top1"
    more: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    no_config: str = ""

    @property
    def measures(self) -> tuple[tuple[str, str], ...]:
        """(heading, measure) of each of this project's columns."""
        return ((self.ours, self.measure), *self.more) if self.ours else ()


@functools.cache
def paper_tables() -> dict[str, Table]:
    """{name: table}, in the order of the paper."""
    text = (resources.files("ns_jax.report") / "paper.toml").read_text(encoding="utf-8")
    return {entry["name"]: _table(entry) for entry in tomllib.loads(text)["tables"]}


def _table(entry: dict) -> Table:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    values["more"] = tuple(tuple(column) for column in entry.get("more", ()))
    return Table(**values | {"rows": tuple(_row(*row) for row in entry["rows"])})


def _row(labels: list[str], figures: str, key: str | None = None) -> Row:
    """A row of paper.toml; `figures` are separated by spaces."""
    return Row(tuple(labels), tuple(map(_figure, figures.split())), key)


def _figure(text: str) -> Figure | None:
    """'78.1' is verified, '78.1*' derived, '78.1~' from notes, '78.1?' recalled, '-' nothing."""
    for tag in ("D", "N", "R"):
        if text.endswith(MARKS[tag]):
            return Figure(text[:-1], tag)
    return None if text == "-" else Figure(text, "V")
