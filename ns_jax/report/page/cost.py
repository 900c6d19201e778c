"""Time and memory of the stages."""

from ns_jax.report.page.markup import Markup, join, paragraph, table
from ns_jax.report.page.run_data import PageRun


def section(run: PageRun) -> Markup:
    """Seconds of each stage and the largest memory of the process up to its end."""
    rows, total, peak = [], 0.0, 0.0
    for iteration in run.iterations:
        by_stage, order = iteration.took(), list(iteration.config.stages)
        for stage in sorted(by_stage, key=lambda stage: order.index(stage) if stage in order else len(order)):
            took = by_stage[stage]
            total, peak = total + took["seconds"], max(peak, took["peak_mib"])
            note = "" if took["finished"] else " (stopped)"
            rows.append(
                [f"{iteration.title}: {stage}{note}", duration(took["seconds"]), f"{took['peak_mib']:,.0f} MiB"]
            )
    if not rows:
        return Markup("")
    text = f"All stages took {duration(total)}; the largest memory of the process was {peak / 1024:.2f} GiB."
    return join(
        [paragraph(text), table(["stage", "time", "peak memory so far"], rows, "Time and memory of the stages")]
    )


def duration(seconds: float) -> str:
    """'45.2 s', '12 min 5 s', '3 h 20 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
