#!/usr/bin/env bash
# Build docs/ as HTML, without a network; a warning is an error.
#
# Usage: bash .dev_scripts/build_docs.sh [FOLDER, default docs/_build/html]
#
# The Python that has the stack (see tools/python.sh) also needs what
# requirements/docs.txt names; that is installed first, and asks no network where
# it is there.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools/python.sh"
"$PYTHON" -m pip install --disable-pip-version-check --quiet \
    -r "$ROOT/requirements/docs.txt"
exec "$PYTHON" -m sphinx -b html -n -W --keep-going -d "$ROOT/docs/_build/doctrees" \
    "$ROOT/docs" "${1:-$ROOT/docs/_build/html}"
