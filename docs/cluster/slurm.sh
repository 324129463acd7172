#!/bin/bash
#SBATCH --job-name=jaxmia
#SBATCH --array=0-3
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
# Each task of the array is a worker: SLURM_ARRAY_TASK_ID and _COUNT tell it which blocks are its own.
#   sbatch docs/cluster/slurm.sh experiments.digits --workdir /shared/run
# A task that dies is put back into the queue, at most five times, and goes on from its last checkpoint.

srun python -m "$@" && exit 0
status=$?
if [ $status -ne 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
