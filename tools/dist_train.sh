#!/usr/bin/env bash
# Train with one process per accelerator of this node, or per CPU share:
#   tools/dist_train.sh CONFIG NUM_PROCESSES [flags of tools/train.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT (on all nodes the same).
set -e
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
run_distributed "$ROOT/tools/train.py" \
    "${2:?usage: dist_train.sh CONFIG NUM_PROCESSES}" "$1" "${@:3}"
