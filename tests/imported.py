"""Imports what a run imports, for `tests.faults`; starts no backend."""

import orbax.checkpoint  # noqa: F401
import tensorflow  # noqa: F401

import ns_jax.main
import ns_jax.report.figures
import ns_jax.report.labels
import ns_jax.run.orchestrate
import ns_jax.stages.evaluate
import ns_jax.stages.label
import ns_jax.stages.select
import ns_jax.stages.train  # noqa: F401
