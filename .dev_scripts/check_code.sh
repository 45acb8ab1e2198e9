#!/usr/bin/env bash
# Lint, format, spelling and type hints of the whole repository: what CI checks,
# by the hooks of .pre-commit-config.yaml. Changes no file.
#
# Usage: bash .dev_scripts/check_code.sh [pre-commit's arguments, such as a hook: mypy]
#
# The tools are installed into .venv-lint, made with the Python of .venv. mypy
# reads the types of torch and numpy in .venv, which is made first where needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/install.sh --stack openmmlab

requirements=requirements/lint.txt
stamp=.venv-lint/requirements.txt
if ! cmp -s "$requirements" "$stamp"; then
    .venv/bin/python -m venv .venv-lint
    .venv-lint/bin/python -m pip install --disable-pip-version-check --quiet \
        -r "$requirements"
    cp "$requirements" "$stamp" # last: a stopped installation is done again
fi
exec .venv-lint/bin/pre-commit run --all-files --show-diff-on-failure "$@"
