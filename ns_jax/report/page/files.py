"""What else lies beside the page."""

from ns_jax.report.page.markup import Markup, element, join
from ns_jax.report.page.run_data import PageRun

MEANING = {
    "labels.csv": "the pseudo-label of every unlabeled image",
    "labels.parquet": "the same, for pandas and the like",
    "label_issues.csv": "labeled images whose label looks wrong, the likeliest first",
    "label_next.csv": "unlabeled images that are worth a label most",
    "label_next.html": "the same, as pictures",
    "results.md": "the table of results as text",
}


def section(run: PageRun) -> Markup:
    """Links to the files that are there."""
    there = [name for name in MEANING if (run.workdir / "report" / name).exists()]
    items = [element("li", element("a", name, href=name), f": {MEANING[name]}") for name in there]
    return element("ul", join(items)) if items else Markup("")
