"""Check that an exported folder works by itself."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor, nn

from mmst.evaluation import preprocess_unmixed

from .outputs import check_same
from .own_modules import list_own


def check_alone(
    stem: Path,
    model: nn.Module,
    data: Dict[str, Any],
    expected: List[Tensor],
    left: Sequence[str],
) -> None:
    """Run an export in a fresh Python that has only its folder.

    It runs in another directory and cannot import mmst or the user's own
    modules. Otherwise what this process has imported, or could import, would
    hide what the folder lacks.

    Args:
        stem: Path of the export's files, without ending.
        model: A model with the preprocessor of the exported one.
        data: A training batch from the data loader.
        expected: The outputs of the subnet in place for it.
        left: What the config still needs, which may be imported.

    Raises:
        ValueError: If the folder does not work by itself, or outputs differ.
    """
    needed = {name.partition('.')[0] for name in left}
    there = {path.stem for path in stem.parent.glob('*.py')}
    # What the user's own classes need from their project is not checked.
    candidates = list_own() if needed <= {'mmst'} else ['mmst']
    blocked = [name for name in candidates if name not in needed | there]
    inputs = preprocess_unmixed(model, copy.deepcopy(data))
    script = Path(__file__).with_name('alone_process.py').read_text()
    with TemporaryDirectory() as elsewhere:
        given, given_back = Path(elsewhere, 'inputs'), Path(elsewhere, 'out')
        device = expected[0].device
        torch.save(dict(data=inputs, device=device), str(given))
        done = subprocess.run(
            [sys.executable, '-c', script, str(stem.parent.resolve())]
            + [stem.name, str(given), str(given_back), ','.join(blocked)],
            cwd=elsewhere,
            capture_output=True,
            encoding='utf-8',
            errors='replace',
        )
        if done.returncode:
            raise ValueError(_explain(done.stderr, blocked))
        check_same(torch.load(str(given_back), map_location=device), expected)


def _explain(stderr: str, blocked: Sequence[str]) -> str:
    # From the exception on, without its traceback.
    start = max(
        (m.start() for m in re.finditer(r'^[\w.]*Error\b', stderr, re.M)),
        default=0,
    )
    words = ' '.join(stderr[start:].split())
    return (
        'the exported folder does not work by itself, so nothing was '
        f'written. A fresh Python without {", ".join(blocked)} says: ' + words
    )
