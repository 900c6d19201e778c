#!/bin/bash
# One experiment on a Slurm cluster with GPUs:
#   sbatch launch/slurm.sh configs/b0_teacher.py /shared/b0_teacher [MORE FLAGS OF ns_jax.main]
# Fit the numbers below to the cluster. The workdir must be a folder that all nodes see.
#SBATCH --job-name=ns_jax
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
# As many processes as GPUs: jax.distributed gives each the GPU of its number on the node.
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# After a preemption Slurm starts the job again; the same command continues from the last checkpoint.
#SBATCH --requeue
#SBATCH --output=ns_jax-%j.log
#SBATCH --open-mode=append
# Two minutes before the time is over, a signal to this script.
#SBATCH --signal=B:USR1@120
set -euo pipefail
if [ $# -lt 2 ]; then echo "usage: sbatch launch/slurm.sh CONFIG WORKDIR [FLAGS]" >&2; exit 2; fi
config=$1 workdir=$2
shift 2
# Ends the tasks with SIGTERM, upon which they save a checkpoint; the cluster's KillWait is their time for it.
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

# In the background, because bash runs a trap only between commands, or in `wait`.
# Since 22.05 srun does not take the number of CPUs from above.
srun --kill-on-bad-exit=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
  "${PYTHON:-.venv/bin/python}" -m ns_jax.main --config="$config" --workdir="$workdir" --distributed "$@" &
wait $!
