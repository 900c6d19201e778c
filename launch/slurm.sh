#!/bin/bash
# One experiment on a Slurm cluster with GPUs:
#   sbatch launch/slurm.sh configs/b0_teacher.py /shared/b0_teacher [MORE FLAGS OF ns_jax.main]
# Fit the numbers below to the cluster, or give others to sbatch. The workdir must be a folder that all nodes see.
#SBATCH --job-name=ns_jax
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
# As many processes as GPUs: jax.distributed gives each the GPU of its number on the node. With 1, a process has all
# GPUs of its node.
#SBATCH --ntasks-per-node=8
# A process reads images with as many threads as it may use CPUs.
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# After a preemption or the end of a node Slurm starts the job again; the same command continues from the last checkpoint.
#SBATCH --requeue
#SBATCH --output=ns_jax-%j.log
#SBATCH --open-mode=append
# Three minutes before the time is over, a signal to this script.
#SBATCH --signal=B:USR1@180
set -euo pipefail
if [ $# -lt 2 ]; then echo "usage: sbatch launch/slurm.sh CONFIG WORKDIR [FLAGS]" >&2; exit 2; fi
config=$1 workdir=$2
shift 2

if [ "${SLURM_NTASKS_PER_NODE:-}" = 1 ] && [ "${SLURM_GPUS_ON_NODE:-1}" -gt 1 ]; then
  # Otherwise jax.distributed takes the one GPU of the process's number.
  JAX_LOCAL_DEVICE_IDS=$(seq --separator=, 0 $((SLURM_GPUS_ON_NODE - 1)))
  export JAX_LOCAL_DEVICE_IDS
fi

# SIGTERM for the processes, which save a checkpoint and end with 143; this script goes on. Slurm may send it, too.
signalled=''
trap 'signalled=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap 'signalled=yes' TERM

# In the background, because bash runs a trap only between commands, or in `wait`.
# Since 22.05 srun does not take the number of CPUs from above.
srun --kill-on-bad-exit=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
  "${PYTHON:-.venv/bin/python}" -m ns_jax.main --config="$config" --workdir="$workdir" --distributed "$@" &
step=$! again=''
while true; do
  code=0
  wait "$step" || code=$?
  if [ -z "$signalled" ]; then break; fi  # else the signal has ended `wait`, not the processes
  signalled='' again=yes
done

if [ "$code" = 143 ] || { [ "$code" != 0 ] && [ -n "$again" ]; }; then
  # Not where somebody has cancelled the job. A preempted job that ends by itself would not be queued again by Slurm.
  state=$(squeue --noheader --states=all --format=%T --job="$SLURM_JOB_ID")
  if [ "$state" = RUNNING ]; then scontrol requeue "$SLURM_JOB_ID"; fi
fi
exit "$code"
