"""Experiments, one file each; `common.py` explains every field. Imported as `ns_jax.configs`."""
