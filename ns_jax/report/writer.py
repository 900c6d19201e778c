"""Metric writers: TensorBoard event files."""

from clu import metric_writers

from ns_jax.parallel.hosts import is_lead


def create_writer(folder) -> metric_writers.MetricWriter:
    """A writer of TensorBoard event files on the lead host, of nothing elsewhere."""
    if not is_lead():
        return metric_writers.MultiWriter([])
    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(folder)))
