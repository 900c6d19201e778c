"""HTML from values. Text is escaped unless it is `Markup`, which only the functions here and the charts make."""

import html
from collections.abc import Sequence


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def to_html(value: object) -> Markup:
    """`value` as HTML: escaped unless it is Markup."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Sequence[object], separator: str = "\n") -> Markup:
    """The parts, each as `to_html` gives it."""
    return Markup(separator.join(to_html(part) for part in parts))


def element(name: str, *content: object, **attributes: object) -> Markup:
    """<name attributes>content</name>; `class_` stands for class, and data_x for data-x."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{join(content, '')}</{name}>")


def paragraph(*content: object, **attributes: object) -> Markup:
    return element("p", *content, **attributes)


def table(
    header: Sequence[object],
    rows: Sequence[Sequence[object]],
    caption: str,
    marked: Sequence[bool] = (),
    text_columns: int = 1,
) -> Markup:
    """A table that scrolls by itself where it is wider than the screen.

    Args:
      header: of the columns.
      rows: cells; the first one of a row is its heading.
      caption: what the table shows.
      marked: for each row, whether it stands out.
      text_columns: so many columns are text, aligned at the left; the others are figures.
    """
    align = lambda column: {} if column < text_columns else {"class_": "figure"}
    heads = [element("th", cell, scope="col", **align(column)) for column, cell in enumerate(header)]
    body = []
    for number, (first, *cells) in enumerate(rows):
        written = [element("th", first, scope="row")]
        written += [element("td", cell, **align(column)) for column, cell in enumerate(cells, 1)]
        stands_out = number < len(marked) and marked[number]
        body.append(element("tr", *written, **({"class_": "marked"} if stands_out else {})))
    whole = element(
        "table", element("caption", caption), element("thead", element("tr", *heads)), element("tbody", join(body))
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def with_interval(value: float | None, interval: tuple[float, float] | None = None, percent: bool = True) -> Markup:
    """A figure and below it its 95 % interval; '-' where there is none."""
    if value is None:
        return Markup("-")
    shown = (lambda x: f"{100 * x:.1f}") if percent else (lambda x: f"{x:.3f}")
    unit = " %" if percent else ""
    if interval is None:
        return Markup(f"{shown(value)}{unit}")
    ends = element("small", f"{shown(interval[0])} to {shown(interval[1])}")
    return Markup(f"{shown(value)}{unit}<br>{ends}")


def details(summary: str, *content: object) -> Markup:
    """Content that is folded away at first."""
    return element("details", element("summary", summary), *content)


def count_of(number: int, noun: str) -> str:
    """'1 image', '1,000 images'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
