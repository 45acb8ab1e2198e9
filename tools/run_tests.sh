#!/usr/bin/env bash
# Run the tests in .venv, which is made first where needed.
#
# Usage: bash tools/run_tests.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/install.sh

# The models in the tests are tiny: more threads only get in each other's way,
# above all in the tests that start two processes.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export MPLBACKEND=Agg
exec .venv/bin/python -m pytest tests "$@"
