#!/bin/bash
#SBATCH --job-name=jaxmia
#SBATCH --array=0-2
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=jaxmia_%A_%a.out
#
#   sbatch docs/cluster/slurm.sh experiments.digits --workdir /shared/run
#
# Each task of the array is a worker and takes its own blocks: SLURM_ARRAY_TASK_ID and _COUNT tell it
# which. Two minutes before its time is up it gets SIGTERM, saves a checkpoint and goes; then, or if it
# was killed, it is queued again, at most RESTARTS times, and goes on from there. A preempted node's
# tasks are queued again by Slurm itself (--requeue). Options of sbatch, such as --array=0-31, go before
# the script's name.

srun python -m "$@"
status=$?
# 2 is a mistake in the command: once more would be the same
if [ $status -ne 0 ] && [ $status -ne 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "${RESTARTS:-10}" ]; then
    echo "status $status after $((${SLURM_RESTART_COUNT:-0} + 1)) starts: queued again"
    scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
exit $status
