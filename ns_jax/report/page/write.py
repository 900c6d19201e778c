"""report/index.html: a page in one file that needs nothing else, neither scripts nor the network."""

import string
from importlib import resources

from absl import logging
from etils import epath

from ns_jax.files import write_bytes
from ns_jax.report.page import (
    calibration,
    classes,
    cost,
    files,
    pseudo_labels,
    recipe,
    results,
    sheets,
    summary,
    training,
)
from ns_jax.report.page.markup import Markup, element, join, paragraph, to_html
from ns_jax.report.page.run_data import PageRun, read_run

SECTIONS = (  # title, anchor, what makes it
    ("Summary", "summary", summary.section),
    ("Results", "results", results.section),
    ("Classes", "classes", classes.section),
    ("Calibration", "calibration", calibration.section),
    ("Pseudo-labels", "pseudo-labels", pseudo_labels.section),
    ("Pictures", "pictures", sheets.section),
    ("Training", "training", training.section),
    ("Time and memory", "cost", cost.section),
    ("Files", "files", files.section),
    ("Again", "again", recipe.section),
)


def write_page(workdir: epath.Path) -> epath.Path:
    """Writes the page of a run as far as it is. Returns its path. Raises UserError for a damaged file of the run."""
    path = workdir / "report" / "index.html"
    write_bytes(path, page(read_run(workdir)).encode())
    return path


def page(run: PageRun) -> str:
    """The page of a run. A section that fails says so, and the others are made."""
    contents, bodies = [], []
    for title, anchor, make in SECTIONS:
        try:
            body = make(run)
        except Exception as error:
            logging.warning("report: the section %r of the page could not be made", title, exc_info=True)
            body = paragraph(f"This section could not be made: {error}", class_="warning")
        if body:
            contents.append(element("li", element("a", title, href=f"#{anchor}")))
            bodies.append(element("section", element("h2", title), body, id=anchor))
    return document(f"Noisy Student Training: {run.workdir.name}", join(contents), join(bodies))


def document(title: str, contents: Markup, body: Markup) -> str:
    """A whole HTML document from the template; `contents` are items of a list of links."""
    template = string.Template(_resource("page.html"))
    nav = element("nav", element("ul", contents), aria_label="Contents") if contents else ""
    return template.substitute(title=to_html(title), style=_resource("page.css"), contents=nav, body=body)


def _resource(name: str) -> str:
    return (resources.files("ns_jax.report.page") / name).read_text(encoding="utf-8")
