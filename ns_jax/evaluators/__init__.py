"""Evaluations: what a trained model is measured by. One file each, named in `registry.py`."""
