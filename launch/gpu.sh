#!/bin/bash
# One experiment on one machine with GPUs, a single process for all of them. In the clone:
#   launch/gpu.sh configs/b0_teacher.py /data/b0_teacher [MORE FLAGS OF ns_jax.main]
# The same command continues an interrupted run.
set -euo pipefail
if [ $# -lt 2 ]; then echo "usage: launch/gpu.sh CONFIG WORKDIR [FLAGS]" >&2; exit 2; fi
config=$1 workdir=$2
shift 2
if [ -z "${PYTHON:-}" ]; then
  PYTHON=.venv/bin/python
  # An environment may be there without CUDA, or half installed.
  if ! $PYTHON -c 'from importlib.metadata import version as v; v("jax-cuda12-plugin"); v("ns_jax")' 2>/dev/null; then
    python3 -m venv .venv
    $PYTHON -m pip install --quiet --editable '.[cuda12,gcs,demo]'
  fi
fi
exec "$PYTHON" -m ns_jax.main --config="$config" --workdir="$workdir" "$@"
