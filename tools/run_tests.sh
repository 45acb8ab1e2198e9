#!/usr/bin/env bash
# Run the tests in the environment of a stack, which is made first where needed.
#
# Usage: bash tools/run_tests.sh [--stack openmmlab|onedl] [pytest arguments]
# The stacks are explained in tools/install.sh.
#
# Each core runs a part of the tests, 8 cores at most. -n 3 takes three processes,
# -n 0 a single one, as --pdb does by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/stack.sh
choose_stack "$@"

bash tools/install.sh --stack "$stack"

# The models in the tests are tiny: more threads only get in each other's way,
# above all in the tests that start two processes.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export MPLBACKEND=Agg
exec "$python" -m pytest -n logical --maxprocesses 8 --dist worksteal \
    ${arguments[@]+"${arguments[@]}"}
