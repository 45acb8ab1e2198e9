#!/usr/bin/env bash
# Make an environment in the repository root with a pinned stack and mmst itself,
# editable.
#
# Usage: bash tools/install.sh [--stack openmmlab|onedl] [--allow-lite]
#
#   openmmlab  OpenMMLab's packages (requirements/stack-openmmlab.txt) in .venv,
#              with Python 3.8 to 3.11
#   onedl      OneDL's, for newer GPUs (requirements/stack-onedl.txt), in
#              .venv-onedl, with Python 3.12 or 3.13
#
# Without --stack the first that a Python here fits. Both may stand side by side.
#
# mmcv is compiled where pip finds no built one. Where it cannot be, for want of a
# compiler, --allow-lite takes mmcv without its operators, and leaves mmdet,
# mmsegmentation and mmpose out: enough for classification. Without --allow-lite
# such an environment is completed.
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
source tools/mmcv.sh
allow_lite=
complete_command=$this_command
for argument in ${arguments[@]+"${arguments[@]}"}; do
    if [ "$argument" != --allow-lite ]; then
        refuse "$argument is not an option. Allowed: --stack NAME, --allow-lite."
    fi
    allow_lite=yes
    this_command="$complete_command --allow-lite"
done
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
        cat tools/install.sh tools/mmcv.sh tools/stack.sh setup.py pyproject.toml \
            mmst/version.py requirements/*.txt
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

check_disk() {
    local need=${MMST_DISK_GB:-$disk_gb} free
    if ! [[ $need =~ ^[0-9]+$ ]]; then
        refuse "MMST_DISK_GB=$need is not a whole number of GB, such as 7."
    fi
    if is_installed "$(pin torch)"; then # the rest is small
        need=${MMST_DISK_GB:-2}
    fi
    free=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024 ^ 2) }')
    if [ "$free" -lt "$need" ]; then
        refuse 'not enough disk space.' "$root: $free GB free, $need GB needed." \
            "Free some, or, if pip's share is on another disk (TMPDIR, PIP_CACHE_DIR), type:" \
            "MMST_DISK_GB=$((need * 7 / 10)) $this_command"
    fi
}

make_venv() {
    if [ -x "$python" ] && "$python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    # Over an unfinished environment this adds what is missing.
    "$base_python" -m venv "$venv"
}

install_stack() {
    local rest=$wheels/rest.txt
    # Some go last, without dependencies: mmcv and xtcocotools may have to be
    # compiled against what is installed here, mmpose asks for chumpy, which does
    # not build and is not needed, and panopticapi-lite for its own NumPy and
    # scikit-image.
    local last="$mmcv|mmpose|panopticapi-lite|xtcocotools" toolboxes=', mmdet, mmsegmentation'
    if [ "$mmcv_source" = lite ]; then
        last+='|(onedl-)?(mmdet|mmdetection|mmsegmentation)'
        toolboxes=
    fi
    step "Installing $(pin torch) and $(pin torchvision) (up to $torch_gb GB to download)"
    pip_install "$(pin setuptools)" "$(pin wheel)"
    pip_install "$(pin torch)" "$(pin torchvision)" -c "$pins"

    step "Installing mmengine, mmpretrain$toolboxes and what they need"
    grep -v -E "^($last)==" "$pins" >"$rest"
    pip_install -r "$rest"

    install_mmcv

    if [ "$mmcv_source" = lite ]; then
        step "Leaving out mmdet, mmsegmentation and mmpose, which need mmcv's operators"
        return
    fi
    step "Installing $(pin mmpose) without chumpy"
    pip_install --no-deps --no-build-isolation "$(pin xtcocotools)" "$(pin mmpose)" \
        "$(pin panopticapi-lite)"
}

verify() {
    local names=(torch torchvision mmengine mmcv mmpretrain mmst)
    if [ "$mmcv_source" != lite ]; then
        names+=(mmdet mmseg mmpose mmcv.ops)
    fi
    NAMES=${names[*]} "$python" - <<'PY'
import importlib
import os
import warnings

warnings.simplefilter('ignore')
for name in os.environ['NAMES'].split():
    module = importlib.import_module(name)
    if name == 'mmcv.ops':
        # One whose operators were left out fails here and nowhere before.
        import torch
        module.nms(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([1.]), 0.5)
    print('      %-12s %s' % (name, getattr(module, '__version__', 'works')))
PY
}

say_what_is_missing() {
    printf '  %s\n' \
        "missing      detection, segmentation, pose and the tests: they need mmcv's operators" \
        "to add them  $complete_command"
}

finished=
if [ -e "$stamp" ] && "$python" -c '' 2>/dev/null; then
    finished=$(cat "$stamp")
fi
complete=$(fingerprint)
if [ "$finished" = "$complete" ]; then
    echo "install.sh: $venv is complete, nothing to do."
    exit 0
fi
if [ "$finished" = "$complete lite" ] && [ -n "$allow_lite" ]; then
    echo "install.sh: $venv is complete for classification, nothing to do."
    say_what_is_missing
    exit 0
fi

step 'Looking for disk space and a built mmcv'
say "Stack $stack, Python $base_version: $base_python"
check_disk
make_venv
mkdir -p "$wheels"
choose_mmcv

install_stack

step 'Installing mmst (editable)'
pip_install --no-deps --no-build-isolation --editable .

step 'Importing everything'
verify

rm -rf "$wheels"
printf '\ninstall.sh: done.\n'
printf '  %s\n' "environment  $venv" "activate     source $venv_name/bin/activate" \
    "first result bash tools/quickstart.sh --stack $stack"
if [ "$mmcv_source" = lite ]; then
    say_what_is_missing
    echo "$complete lite" >"$stamp"
else
    printf '  %s\n' "tests        bash tools/run_tests.sh --stack $stack"
    echo "$complete" >"$stamp"
fi
