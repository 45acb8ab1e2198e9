"""Run a command of this repository with its output in a file."""

import json
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, TypeVar

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar('T')
R = TypeVar('R')


def add_jobs(parser: ArgumentParser) -> None:
    """Add ``--jobs``: how many trainings run at once."""
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        help='parallel runs, one thread each; default: one per core',
    )


def run_all(function: Callable[[T], R], runs: List[T], args: Any) -> List[R]:
    """Call a function with each run, ``args.jobs`` at a time."""
    print(
        f'{len(runs)} runs, {args.jobs} at a time; logs in {args.work_dir}',
        flush=True,
    )
    with ThreadPoolExecutor(args.jobs) as pool:
        return list(pool.map(function, runs))


def run_logged(name: str, command: List[str], log: Path) -> float:
    """Run a command, all output to a file, training progress to the screen.

    Args:
        name: Prefix of its lines on the screen.
        command: The command; it runs in the repository's root.
        log: The file to append to.

    Returns:
        float: Its CPU time in seconds.

    Raises:
        RuntimeError: If the command fails.
    """
    # Runs share the cores: more threads in each would only slow them down.
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1')
    # Configs may import the modules beside this file.
    paths = [str(ROOT / 'demo'), *filter(None, [env.get('PYTHONPATH')])]
    env['PYTHONPATH'] = os.pathsep.join(paths)
    with log.open('a') as file, subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        for line in process.stdout:
            file.write(line)
            progress = re.search(r'(Epoch|Iter)\(train\).*', line)
            if progress:
                print(f'{name}: {progress.group()}', flush=True)
        # The usage of this child only, not of other processes.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = (
            -os.WTERMSIG(status)
            if os.WIFSIGNALED(status)
            else os.WEXITSTATUS(status)
        )
    if process.returncode != 0:
        raise RuntimeError(
            f'{name} failed with exit status {process.returncode}: see {log}'
        )
    return usage.ru_utime + usage.ru_stime


def train_logged(
    name: str, config: str, folder: Path, options: Dict[str, Any]
) -> float:
    """Train into a folder by ``tools/train.py``, or resume there.

    Args:
        name: Prefix of its lines on the screen.
        config: The config, from the repository's root.
        folder: The run's work directory, created if missing; the output goes
            to ``output.txt`` there.
        options: Changes of the config.

    Returns:
        float: Its CPU time in seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, 'tools/train.py', config, '--work-dir']
    command += [str(folder), '--resume', *format_options(options)]
    return run_logged(name, command, folder / 'output.txt')


def analyse(
    tool: str,
    flags: List[str],
    metric: str,
    name: str,
    folder: Path,
    options: Dict[str, Any],
) -> Dict[str, Any]:
    """Run one of the analysis tools on a training; read what it wrote."""
    command = [sys.executable, f'tools/analysis_tools/{tool}.py', *flags]
    command += ['--metric', metric, '--out', str(folder / tool)]
    command += format_options(options)
    run_logged(name, command, folder / 'output.txt')
    return json.loads((folder / tool / f'{tool}.json').read_text())


def format_options(options: Dict[str, Any]) -> List[str]:
    """Write changes of a config as a command line."""
    changes = [f'{key}={value}' for key, value in options.items()]
    return ['--cfg-options', *changes]
