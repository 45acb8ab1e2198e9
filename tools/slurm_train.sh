#!/usr/bin/env bash
# Train through Slurm:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [train.py flags]
# Environment: see run_slurm in tools/python.sh.
set -e
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
: "${4:?usage: slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR}"
run_slurm "$1" "$2" "$ROOT/tools/train.py" "$3" --work-dir "$4" "${@:5}"
