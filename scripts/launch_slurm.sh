#!/usr/bin/env bash
# sbatch scripts/launch_slurm.sh --config configs/finetune.py:model=resnet50,data=folder:DIR
#
# One task per GPU: in a SLURM step jax gives every task the GPU of its local number. main.py recognises the step.
# Change the numbers of nodes and GPUs (both lines), the time, and the partition; on CPU nodes drop --gres and take one
# task per node.
#SBATCH --job-name=tl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --output=%x-%j.log
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"

# The workdir must be seen by all nodes under the same name, and stays the same when the job is queued again.
export WORKDIR=${WORKDIR:-$SLURM_SUBMIT_DIR/runs/$SLURM_JOB_NAME}

# --signal sends SIGTERM to the tasks two minutes before the end: they save and stop with code 130.
code=0
srun --kill-on-bad-exit=0 .venv/bin/python main.py --workdir "$WORKDIR" "$@" || code=$?
# 130 and 143: stopped and saved; the same command goes on from there.
if [ "$code" -eq 130 ] || [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
