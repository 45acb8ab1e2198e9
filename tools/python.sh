# shellcheck shell=bash
# Sourced by the launch scripts. Sets ROOT, the repository, and PYTHON: the
# caller's, else the active `python` if it has a stack, else that of the
# environment that install.sh made.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    has_stack='import importlib.util as i; exit(not i.find_spec("mmengine"))'
    if ! python -c "$has_stack" &>/dev/null; then
        source "$ROOT/tools/stack.sh"
        find_environment
        PYTHON=$python
    fi
fi
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}

# run_distributed SCRIPT NUM_PROCESSES ARG...
run_distributed() {
    # Several nodes have to agree on a port; a single one takes what is free,
    # so that two jobs do not meet.
    local nodes=${NNODES:-1} port=${PORT:-29500}
    if [ "$nodes" = 1 ] && [ -z "${PORT:-}" ]; then
        port=$("$PYTHON" -c 'from socket import socket
s = socket(); s.bind(("", 0)); print(s.getsockname()[1])')
    fi
    "$PYTHON" -m torch.distributed.run \
        --nnodes="$nodes" --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" \
        --nproc_per_node="$2" "$1" "${@:3}" --launcher pytorch
}

# run_slurm PARTITION JOB_NAME SCRIPT ARG..., with GPUS (in total),
# GPUS_PER_NODE, CPUS_PER_TASK and further SRUN_ARGS from the environment.
run_slurm() {
    # shellcheck disable=SC2086  # SRUN_ARGS is a list of words
    srun --partition="$1" --job-name="$2" \
        --gres="gpu:${GPUS_PER_NODE:-8}" \
        --ntasks="${GPUS:-8}" --ntasks-per-node="${GPUS_PER_NODE:-8}" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} "$PYTHON" -u "${@:3}" --launcher slurm
}
