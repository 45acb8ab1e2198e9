#!/usr/bin/env bash
# Test through Slurm:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [test.py flags]
# Environment: see run_slurm in tools/python.sh.
set -e
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
: "${4:?usage: slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT}"
run_slurm "$1" "$2" "$ROOT/tools/test.py" "$3" "$4" "${@:5}"
