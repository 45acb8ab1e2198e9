#!/usr/bin/env bash
# Make an environment in the repository root with a pinned stack and mmst itself,
# editable.
#
# Usage: bash tools/install.sh [--stack openmmlab|onedl]
#
#   openmmlab  OpenMMLab's packages (requirements/stack-openmmlab.txt) in .venv,
#              with Python 3.8 to 3.11
#   onedl      OneDL's, for newer GPUs (requirements/stack-onedl.txt), in
#              .venv-onedl, with Python 3.12 or 3.13
#
# Without --stack the first that a Python here fits. Both may stand side by side.
#
# Safe to run again: a finished environment is left alone, an unfinished one is
# completed. To have a finished one checked again, remove its .mmst-installed.
#
# Environment variables:
#   PYTHON          the Python to make the environment with
#   PIP_FIND_LINKS  read by pip: folders or pages with built packages, separated
#                   by spaces. Without a built mmcv there or on the package
#                   index, mmcv is compiled.
#   MMST_DISK_GB    free space to ask for in the repository before the first
#                   download, in place of the estimate of what is needed
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/stack.sh
choose_stack "$@"
if [ "${#arguments[@]}" -gt 0 ]; then
    refuse "${arguments[0]} is not an option. Allowed: --stack NAME."
fi
stamp=$venv/.mmst-installed
wheels=$venv/mmst-wheels

# Packages that another environment shows through these would count as installed.
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1

num_steps=7
step_number=0

step() {
    step_number=$((step_number + 1))
    printf '\n[%d/%d] %s\n' "$step_number" "$num_steps" "$1"
}

say() {
    printf '      %s\n' "$@"
}

report_exit() {
    local status=$?
    if [ "$status" -ne 0 ] && [ -z "$refused" ]; then
        printf '\ninstall.sh: stopped in step %d of %d (exit status %d), see above.\n' \
            "$step_number" "$num_steps" "$status" >&2
        printf '  What is installed stays. To go on from there: %s\n' "$this_command" >&2
    fi
}
trap report_exit EXIT

# What a finished environment depends on. The root counts because it and the
# editable install hold absolute paths, and the folders because .mim links to
# those that are there when mmst is installed.
fingerprint() {
    {
        printf '%s\n' "$root"
        ls -d configs tools model-index.yml 2>/dev/null || true
        cat tools/install.sh tools/stack.sh setup.py pyproject.toml mmst/version.py \
            requirements/*.txt
    } | cksum
}

# The requirement line of a package, without its marker: "pin mmcv" prints
# mmcv==2.1.0.
pin() {
    grep -E "^$1==" "$pins" | cut -d ';' -f 1
}

pip_install() {
    "$python" -m pip install "$@"
}

# pip writes RECORD last, so an interrupted installation has none. The star is for
# local versions, such as torch 2.1.2+cpu.
is_installed() {
    local name=${1%%==*} version=${1#*==}
    compgen -G "$venv/lib/python3*/site-packages/${name//-/_}-$version*.dist-info/RECORD" \
        >/dev/null
}

# Once torch is in, the rest is small.
check_disk() {
    local venv_gb=${disk_gb[0]} temp_gb=${disk_gb[1]} cache_gb=${disk_gb[2]}
    if is_installed "$(pin torch)"; then
        venv_gb=2 temp_gb=0 cache_gb=0
    elif [ -n "${PIP_NO_CACHE_DIR:-}" ]; then
        cache_gb=0
    fi
    if [ -n "${MMST_DISK_GB:-}" ]; then
        if ! [[ $MMST_DISK_GB =~ ^[0-9]+$ ]]; then
            refuse "MMST_DISK_GB=$MMST_DISK_GB is not a whole number of GB, such as 7."
        fi
        venv_gb=$MMST_DISK_GB temp_gb=0 cache_gb=0
    fi
    local cache=${PIP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pip} problem
    if ! problem=$("$base_python" - "$venv_gb" "$root" "$temp_gb" "${TMPDIR:-/tmp}" \
        "$cache_gb" "$cache" <<'PY'
import os
import shutil
import sys

places = {}  # device: [GB needed, paths]; several may lie on one disk
for need, path in zip(sys.argv[1::2], sys.argv[2::2]):
    while not os.path.exists(path):
        path = os.path.dirname(path)
    place = places.setdefault(os.stat(path).st_dev, [0, []])
    if int(need):
        place[0] += int(need)
        place[1].append(path)
problems = ['%s: %.1f GB free, %d GB needed' %
            (', '.join(paths), shutil.disk_usage(paths[0]).free / 2**30, need)
            for need, paths in places.values()
            if need and shutil.disk_usage(paths[0]).free < need * 2**30]
print('\n  '.join(problems))
sys.exit(bool(problems))
PY
    ); then
        refuse 'not enough disk space.' "$problem" \
            "Free some, or move pip's share to another disk and type:" \
            "TMPDIR=/other/disk PIP_CACHE_DIR=/other/disk/pip $this_command"
    fi
}

make_venv() {
    if [ -x "$python" ] && "$python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    # Over an unfinished environment this adds what is missing.
    "$base_python" -m venv "$venv"
}

# Sets mmcv_source to a built wheel, or to "compile".
find_mmcv() {
    local found
    mkdir -p "$wheels"
    if ! found=$(compgen -G "$wheels/${mmcv//-/_}-*.whl"); then
        "$python" -m pip download --quiet --no-deps --only-binary :all: \
            --dest "$wheels" "$(pin "$mmcv")" >"$wheels/search.log" 2>&1 || true
        found=$(compgen -G "$wheels/${mmcv//-/_}-*.whl") || found=compile
    fi
    mmcv_source=${found%%$'\n'*}
}

check_compiler() {
    local compiler include version=${base_version%.*}
    local built=('Or let pip find a built one:'
        "PIP_FIND_LINKS=$mmcv_page $this_command")
    local why
    why="$(pin "$mmcv") has to be compiled, as pip finds no built one for Python $version"
    read -r -a compiler <<<"${CXX:-c++}"
    if ! command -v "${compiler[0]}" >/dev/null 2>&1; then
        refuse "$why, and there is no C++ compiler (${compiler[0]})." \
            'Install one, for example: apt-get install g++' "${built[@]}"
    fi
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    if [ ! -e "$include/Python.h" ]; then
        refuse "$why, and $include/Python.h is not there." \
            "Install the headers, for example: apt-get install python$version-dev" "${built[@]}"
    fi
    if ! printf '#include <Python.h>\n#include <optional>\n' |
        "${compiler[@]}" -std=c++17 -fsyntax-only "-I$include" -x c++ - \
            2>"$wheels/compiler.log"; then
        refuse "$why, and ${compiler[*]} does not compile C++17 (see $wheels/compiler.log)." \
            'Install another, for example: apt-get install g++, or name one: CXX=g++-12' \
            "${built[@]}"
    fi
    # mmcv compiles its CUDA operators too where torch sees a GPU.
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1 &&
        ! command -v nvcc >/dev/null 2>&1 && [ ! -d "${CUDA_HOME:-/usr/local/cuda}" ]; then
        refuse "$why, and there is a GPU but no CUDA $cuda toolkit (nvcc, CUDA_HOME)." \
            "Install the CUDA $cuda toolkit." "${built[@]}"
    fi
    say "$why." 'That takes 20 to 30 minutes on 2 cores.' "${built[@]}"
}

compile_mmcv() {
    local log=$wheels/compile.log
    export MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}
    say "Compiling with $MAX_JOBS jobs (MAX_JOBS), full output in $log"
    # --no-build-isolation: an isolated build lacks torch and leaves the
    # operators out. --no-cache-dir: so does a wheel cached from such a build.
    if ! MMCV_WITH_OPS=1 "$python" -m pip wheel --verbose --no-deps --no-cache-dir \
        --no-build-isolation --no-binary "$mmcv" --wheel-dir "$wheels" "$(pin "$mmcv")" 2>&1 |
        tee "$log" | awk 'match($0, /^ *\[[0-9]+\/[0-9]+\]/) {
            split(substr($0, RSTART, RLENGTH), part, /[][\/]/)
            printf "      compiled %d of %d files\n", part[2], part[3]
            fflush()
        }'; then
        tail -n 40 "$log" >&2
        return 1
    fi
    mmcv_source=$(compgen -G "$wheels/${mmcv//-/_}-*.whl")
}

install_stack() {
    local rest=$wheels/rest.txt
    step "Installing $(pin torch) and $(pin torchvision) (up to $torch_gb GB to download)"
    pip_install "$(pin setuptools)" "$(pin wheel)"
    pip_install "$(pin torch)" "$(pin torchvision)" -c "$pins"

    step 'Installing mmengine, mmpretrain, mmdet, mmsegmentation and what they need'
    # Some go last, without dependencies: mmcv and xtcocotools may have to be
    # compiled against what is installed here, mmpose asks for chumpy, which does
    # not build and which it does not need, and panopticapi-lite for a NumPy and a
    # scikit-image of its own.
    grep -v -E "^($mmcv|mmpose|panopticapi-lite|xtcocotools)==" "$pins" >"$rest"
    pip_install -r "$rest"

    step "Installing $(pin "$mmcv")"
    if ! is_installed "$(pin "$mmcv")"; then
        if [ "$mmcv_source" = compile ]; then
            compile_mmcv
        fi
        pip_install --no-deps "$mmcv_source"
    fi

    step "Installing $(pin mmpose) without chumpy"
    pip_install --no-deps --no-build-isolation "$(pin xtcocotools)" "$(pin mmpose)" \
        "$(pin panopticapi-lite)"
}

verify() {
    "$python" - <<'PY'
import importlib
import warnings

warnings.simplefilter('ignore')
for name in ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet',
             'mmseg', 'mmpose', 'mmst'):
    module = importlib.import_module(name)
    print('      %-12s %s' % (name, module.__version__))

# An mmcv whose operators were left out fails here and nowhere before.
import torch
from mmcv.ops import nms

nms(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([1.]), 0.5)
print('      mmcv.ops     works')
PY
}

if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] &&
    "$python" -c '' 2>/dev/null; then
    echo "install.sh: $venv is complete, nothing to do."
    exit 0
fi

step 'Looking for disk space and a built mmcv'
say "Stack $stack, Python $base_version: $base_python"
check_disk
make_venv
mmcv_source=installed
if ! is_installed "$(pin "$mmcv")"; then
    find_mmcv
    if [ "$mmcv_source" = compile ]; then
        check_compiler
    else
        say "Built mmcv: $(basename "$mmcv_source")"
    fi
fi
mkdir -p "$wheels"

install_stack

step 'Installing mmst (editable)'
pip_install --no-deps --no-build-isolation --editable .

step 'Importing everything'
verify

rm -rf "$wheels"
fingerprint >"$stamp"
cat <<DONE

install.sh: done.
  environment  $venv
  activate     source $venv_name/bin/activate
  tests        bash tools/run_tests.sh --stack $stack
  first result bash tools/quickstart.sh --stack $stack
DONE
