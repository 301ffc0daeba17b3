#!/usr/bin/env bash
# scripts/launch_tpu_pod.sh --workdir gs-or-nfs-folder --config configs/finetune.py:model=resnet50,data=folder:DIR
#
# One process on every host of a Cloud TPU pod slice, where this repository and its .venv lie in ~/tl already:
#   gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "git clone URL tl && cd tl && \
#     python3 -m venv .venv && .venv/bin/pip install -e '.[tpu]'"
# Change TPU and ZONE. The workdir must be a folder that all hosts share (Filestore, or a bucket that is mounted).
set -euo pipefail
TPU=${TPU:-my-pod}
ZONE=${ZONE:-us-central2-b}

# "auto": the hosts find each other through the metadata server.
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command \
  "cd tl && .venv/bin/python main.py --coordinator auto $(printf '%q ' "$@")"
