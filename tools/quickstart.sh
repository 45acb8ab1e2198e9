#!/usr/bin/env bash
# From a fresh clone to a first result: install, make the small data set, train
# a network with common training (CT) and with ST++, and compare the two.
#
# Usage: bash tools/quickstart.sh [arguments of tools/demo.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/install.sh
.venv/bin/python tools/dataset_converters/mnistm5k.py
exec .venv/bin/python tools/demo.py "$@"
