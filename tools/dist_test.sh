#!/usr/bin/env bash
# Test with one process per accelerator of this node, or per CPU share:
#   tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [flags of tools/test.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT (on all nodes the same).
set -e
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
run_distributed "$ROOT/tools/test.py" \
    "${3:?usage: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES}" "$1" "$2" \
    "${@:4}"
