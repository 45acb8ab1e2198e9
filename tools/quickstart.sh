#!/usr/bin/env bash
# From a fresh clone to a first result: install, make the small data set, train
# a network with common training (CT) and with ST++, and with CT for as long as
# ST++ costs, and compare them.
#
# Usage: bash tools/quickstart.sh [--stack openmmlab|onedl] [arguments of demo/compare.py]
# The stacks are explained in tools/install.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/stack.sh
choose_stack "$@"

# Classification does without mmcv's operators, where they cannot be compiled.
bash tools/install.sh --stack "$stack" --allow-lite
"$python" demo/dataset_converters/mnistm5k.py
exec "$python" demo/compare.py --equal-cost ${arguments[@]+"${arguments[@]}"}
