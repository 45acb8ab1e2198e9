# shellcheck shell=bash disable=SC2034 # the scripts that source it read them
# Sourced by the scripts beside it: the stacks that mmst works on, and which of
# them is meant, by --stack or by the Python that is there.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stacks=(openmmlab onedl) # the first that fits is taken

# All that differs between the stacks. Sets:
#   stack      its name
#   pythons    the Pythons that its pins take, best first
#   reason     why only these
#   mmcv       the distribution with mmcv in it
#   mmcv_lite  the one that has it without operators (see tools/mmcv.sh)
#   mmcv_page  where built ones are, for the pinned torch
#   cuda       the CUDA that the pinned torch is built with
#   torch_gb   what torch and CUDA's libraries are to download
#   disk_gb    a fresh installation, rounded up, with what pip unpacks on the way
#   pins       the pinned packages
#   venv_name  the environment in the repository's root
#   venv, python, this_command   follow from these
describe_stack() {
    stack=$1
    case $stack in
    openmmlab)
        pythons=(3.11 3.10 3.9 3.8)
        reason='torch 2.1 and the built mmcv packages exist for these only'
        mmcv=mmcv
        mmcv_lite='mmcv-lite'
        mmcv_page=https://download.openmmlab.com/mmcv/dist/cu121/torch2.1.0/index.html
        cuda=12.1
        torch_gb=2.5
        disk_gb=10
        venv_name=.venv
        ;;
    onedl)
        pythons=(3.12 3.13)
        reason='the pinned versions ask for 3.12 or newer'
        mmcv=onedl-mmcv
        mmcv_lite=onedl-mmcv
        mmcv_page=https://mmwheels.onedl.ai/cu129-torch290/simple/onedl-mmcv/
        cuda=12.8
        torch_gb=4.1
        disk_gb=13
        venv_name=.venv-onedl
        ;;
    *) refuse "--stack $stack is not known. Allowed: ${stacks[*]}." ;;
    esac
    pins=requirements/stack-$stack.txt
    venv=$root/$venv_name
    python=$venv/bin/python
    # What to type to have the same again.
    this_command="bash tools/${0##*/} --stack $stack"
}

refused=

refuse() {
    refused=yes
    printf '\n%s: %s\n' "${0##*/}" "$1" >&2
    shift
    if [ "$#" -gt 0 ]; then
        printf '  %s\n' "$@" >&2
    fi
    exit 1
}

# Prints the first comment of the script that was called, and ends it.
print_help() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$root/tools/${0##*/}"
    exit
}

# Reads --stack and --help from "$@". Sets the stack as
# describe_stack does, base_python, base_version, and arguments, the rest of "$@".
choose_stack() {
    local names=("${stacks[@]}") name problems=()
    arguments=()
    while [ "$#" -gt 0 ]; do
        case $1 in
        -h | --help) print_help ;;
        --stack)
            [ "$#" -gt 1 ] || refuse "--stack needs a name. Allowed: ${stacks[*]}."
            names=("$2")
            shift
            ;;
        --stack=*) names=("${1#*=}") ;;
        *) arguments+=("$1") ;;
        esac
        shift
    done
    for name in "${names[@]}"; do
        describe_stack "$name"
        if find_python; then
            if [ "${#problems[@]}" -gt 0 ]; then
                printf '%s: taking stack %s, which Python %s fits, as none fits stack %s.\n' \
                    "${0##*/}" "$stack" "$base_version" "${stacks[0]}"
                printf '  What is missing for that one: bash tools/%s --stack %s\n' \
                    "${0##*/}" "${stacks[0]}"
            fi
            return
        fi
        problems+=("${problem[@]}")
    done
    refuse 'no fitting Python was found.' "${problems[@]}"
}

# Describes the first stack that has an environment, else the default one.
find_environment() {
    local name
    for name in "${stacks[@]}" "${stacks[0]}"; do
        describe_stack "$name"
        if [ -x "$python" ]; then
            return
        fi
    done
}

# Sets base_python and base_version: $PYTHON, the Python of the stack's
# environment, or one to make it with. Otherwise sets problem and fails.
find_python() {
    local candidate result tried=()
    local best="python${pythons[0]}"
    while IFS= read -r candidate; do
        [ -n "$candidate" ] || continue
        if result=$(probe_python "$candidate"); then
            base_python=$candidate
            base_version=$result
            return
        fi
        tried+=("    $candidate $result")
    done <<<"$(list_pythons)"
    problem=("Stack $stack: needed is Python ${pythons[*]} with venv; $reason."
        '  Found:'
        "${tried[@]:-    none on PATH, nor among the versions of pyenv}")
    if [ -e "$venv" ]; then
        problem+=("  To begin anew: rm -rf '$venv' && PYTHON=/path/to/$best $this_command")
    else
        problem+=("  Install one (for example: apt-get install $best $best-venv,"
            "  conda create -n mmst python=${pythons[0]}, or pyenv install ${pythons[0]}), then type, with its path:"
            "  PYTHON=/path/to/$best $this_command")
    fi
    return 1
}

# Prints the places where a fitting Python may be, whether it runs or not: a
# pyenv shim without a chosen version is on PATH and fails when called.
list_pythons() {
    local version
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
    elif [ -e "$python" ] || [ -L "$python" ]; then
        echo "$python"
    else
        for version in "${pythons[@]}"; do
            type -aP "python$version" || true
            compgen -G "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version*/bin/python$version" || true
        done
        type -aP python3 python || true
    fi
}

# Prints the version of a Python that fits the stack and its environment.
# Otherwise prints what is wrong with it and fails.
probe_python() {
    local version of_venv
    # Asking for the version is also the test whether it runs.
    version=$(print_version "$1")
    of_venv=$(print_version "$python")
    if [ -z "$version" ]; then
        printf 'does not run'
    elif [[ " ${pythons[*]} " != *" ${version%.*} "* ]]; then
        printf 'is Python %s' "$version"
    elif [ "${of_venv%.*}" = "${version%.*}" ]; then
        printf '%s' "$version"
        return
    elif [ -n "$of_venv" ]; then
        printf 'is Python %s, %s has %s' "$version" "$venv" "$of_venv"
    elif ! "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        printf 'is Python %s without venv or ensurepip' "$version"
        printf ' (Debian, Ubuntu: apt-get install python%s-venv)' "${version%.*}"
    else
        printf '%s' "$version"
        return
    fi
    return 1
}

print_version() {
    "$1" -c 'import sys
print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true
}
