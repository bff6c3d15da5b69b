#!/bin/bash
# Train on several machines under SLURM: sbatch examples/cluster/slurm.sh
# TEXT and OUT are on a file system that all machines share. The job saves a checkpoint two minutes before its time is
# over, and continues from it when it is submitted again with the same OUT.
#SBATCH --job-name=inkhorn
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
: "${TEXT:=$HOME/text}" "${OUT:=$HOME/runs/gpt2-xl}"
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$head:29400" --rdzv-id "$SLURM_JOB_ID" \
  -m inkhorn train gpt2-xl --grad-accum 64 --parallel fsdp --resume --text "$TEXT" --out "$OUT"
