# shellcheck shell=bash disable=SC2154 # install.sh, which sources it, sets them
# Sourced by install.sh: where mmcv comes from, and how it is compiled.

# As torch's build of extensions has it.
read -r -a compiler <<<"${CXX:-c++}"

# An mmcv without its operators does not count: it may have been built where
# torch could not be seen, or be a lite one.
is_mmcv_complete() {
    is_installed "$(pin "$mmcv")" &&
        compgen -G "$venv/lib/python3*/site-packages/mmcv/_ext*" >/dev/null
}

# Prints a built wheel, or fails.
find_mmcv() {
    local wheel="$wheels/${mmcv//-/_}-*.whl" found
    mkdir -p "$wheels"
    if ! compgen -G "$wheel" >/dev/null; then
        "$python" -m pip download --quiet --no-deps --only-binary :all: \
            --dest "$wheels" "$(pin "$mmcv")" >"$wheels/search.log" 2>&1 || true
    fi
    found=$(compgen -G "$wheel") && printf '%s\n' "${found%%$'\n'*}"
}

# Sets mmcv_source: "installed", a built wheel, "compile" or "lite".
choose_mmcv() {
    local why built=('Or let pip find a built one:'
        "PIP_FIND_LINKS=$mmcv_page $complete_command")
    if is_mmcv_complete; then
        mmcv_source=installed
        return
    fi
    if mmcv_source=$(find_mmcv); then
        say "Built mmcv: $(basename "$mmcv_source")"
        return
    fi
    why="$(pin "$mmcv") has to be compiled, as pip finds no built one for Python ${base_version%.*}"
    if can_compile_mmcv; then
        mmcv_source=compile
        say "$why." 'That takes 2 to 5 minutes on 2 cores.' "${built[@]}"
    elif [ -n "$allow_lite" ]; then
        mmcv_source=lite
        say "$why, and ${problem[0]}" \
            'So it is installed without its operators, which is enough for classification.'
    else
        refuse "$why, and ${problem[0]}" "${problem[@]:1}" "${built[@]}" \
            'Or do without its operators, which is enough for classification:' \
            "$complete_command --allow-lite"
    fi
}

# Says whether mmcv can be compiled here. Otherwise sets problem.
can_compile_mmcv() {
    local include told version=${base_version%.*}
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    if ! told=$(printf '#include <Python.h>\n#include <optional>\n' |
        "${compiler[@]}" -std=c++17 -fsyntax-only "-I$include" -x c++ - 2>&1); then
        problem=("${compiler[*]} does not compile C++17 with $include/Python.h: ${told%%$'\n'*}"
            "Install what is missing, for example: apt-get install g++ python$version-dev,"
            'or name another compiler: CXX=g++-12')
        return 1
    fi
    # mmcv compiles its CUDA operators too where torch sees a GPU.
    if nvidia-smi >/dev/null 2>&1 && ! command -v nvcc >/dev/null 2>&1 &&
        [ ! -d "${CUDA_HOME:-/usr/local/cuda}" ]; then
        problem=("there is a GPU but no CUDA $cuda toolkit (nvcc, CUDA_HOME)."
            "Install the CUDA $cuda toolkit.")
        return 1
    fi
}

# Most of the time would go into debug information, which nobody reads, and into
# torch's headers, parsed anew for each of some 80 files. Prints flags against both,
# for CPPFLAGS: these are added to Python's own flags, whereas setuptools 80 puts
# CFLAGS in their place, and -DNDEBUG is gone. Neither reaches nvcc.
choose_flags() {
    local header=$wheels/torch_types.h flags="${CPPFLAGS:-} -g0 -O2"
    # GCC alone takes such a header; without it the compilation takes longer.
    if [[ $("${compiler[@]}" --version) == *'Free Software Foundation'* ]] &&
        CPPFLAGS=$flags "$python" tools/precompile_header.py torch/types.h \
            "$header" >"$wheels/header.log" 2>&1; then
        flags+=" -include '$header'"
    fi
    printf '%s' "$flags"
}

compile_mmcv() {
    local log=$wheels/compile.log flags
    # The environment's ninja; without one torch compiles file by file.
    local PATH=$venv/bin:$PATH
    export MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)}
    say "Compiling with $MAX_JOBS jobs (MAX_JOBS), full output in $log"
    flags=$(choose_flags)
    # --no-build-isolation: an isolated build lacks torch and leaves the
    # operators out. --no-cache-dir: so does a wheel cached from such a build.
    if ! CPPFLAGS=$flags MMCV_WITH_OPS=1 "$python" -m pip wheel --verbose \
        --no-deps --no-cache-dir --no-build-isolation --no-binary "$mmcv" \
        --wheel-dir "$wheels" "$(pin "$mmcv")" 2>&1 |
        tee "$log" | awk 'match($0, /^ *\[[0-9]+\/[0-9]+\]/) {
            split(substr($0, RSTART, RLENGTH), part, /[][\/]/)
            printf "      compiled %d of %d files\n", part[2], part[3]
            fflush()
        }'; then
        tail -n 40 "$log" >&2
        return 1
    fi
    mmcv_source=$(find_mmcv)
}

# With and without operators mmcv fills the same folder, so what is there, be it
# half installed, goes first: pip would lay one over the other, and who uninstalls
# the one later would take the other's files.
remove_mmcv() {
    local site info
    for site in "$venv"/lib/python3*/site-packages; do
        for info in "$site/${mmcv//-/_}"-*.dist-info "$site/${mmcv_lite//-/_}"-*.dist-info; do
            rm -rf "$info"
        done
        rm -rf "$site/mmcv"
    done
}

install_mmcv() {
    local version lite
    version=$(pin "$mmcv")
    lite=$mmcv_lite==${version#*==}
    if [ "$mmcv_source" = lite ]; then
        step "Installing $lite, which has no operators"
        # OneDL has no mmcv-lite, but onedl-mmcv leaves its operators out where
        # it is built in isolation, without torch. Not to be cached as such.
        if ! is_installed "$lite"; then
            remove_mmcv
            pip_install --no-deps --no-cache-dir "$lite"
        fi
        return
    fi
    step "Installing $version"
    if [ "$mmcv_source" = compile ]; then
        compile_mmcv
    fi
    if [ "$mmcv_source" != installed ]; then
        remove_mmcv
        pip_install --no-deps "$mmcv_source"
    fi
}
