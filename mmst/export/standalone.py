"""Write a subnet as a checkpoint and a config of the stock toolbox.

The folder appears only after the model has been built from the files and its
outputs compared with those of the subnet in place.
"""

import copy
import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

from mmst.checkpoints import strip_checkpoint, write_checkpoint
from mmst.evaluation import bake_temperature, get_train_loader, run_as_subnet
from mmst.subnets import (
    export_subnet,
    find_stages,
    preserve_modes,
    unwrap_model,
)
from mmst.subnets.export import list_changes

from .formats import check_formats, write_formats
from .outputs import TOLERANCE, are_same, compute_outputs
from .plain_config import make_plain_config
from .standalone_config import build_from, write_config


def write_standalone(
    runner: Runner,
    cfg: Config,
    depths: Sequence[int],
    out: Path,
    name: str,
    num_samples: int = 2000,
    dataset_meta: Any = None,
    formats: Sequence[str] = (),
    calibrate: bool = False,
    notes: Sequence[str] = (),
) -> List[str]:
    """Write a subnet of a trained network: ``NAME.pth`` and ``NAME.py``.

    Args:
        runner: A runner with the trained weights and a training data loader.
        cfg: The config of the training, hooks included.
        depths: Number of blocks to keep in each stage.
        out: The folder to write; must not exist, or be empty.
        name: Name of the files, without ending.
        num_samples: Training images to re-estimate statistics from.
        dataset_meta: Names of classes and so on, for the checkpoint. Default:
            those of the training data.
        formats: Other formats to write, of ``FORMATS``.
        calibrate: Whether to put a fitted temperature into the last layer.
        notes: Lines for the config's head, such as the subnet's score.

    Returns:
        list: Modules and classes of ``mmst`` or the user's own that the
        config needs.

    Raises:
        TypeError: If the stages, or the layer to calibrate, are not found.
        ValueError: If depths do not fit, images lack, or outputs differ.

    Example:
        >>> out = folder / 'small'
        >>> needed = write_standalone(runner, runner.cfg, (1, 2, 1), out, 'a')
        >>> sorted(path.name for path in out.iterdir())
        ['a.pth', 'a.py', 'backbone_a.py']
    """
    model = unwrap_model(runner.model)
    check_out(out)
    check_formats(formats)
    changes = list_changes(model, depths)  # refuses depths that do not fit
    plain = make_plain_config(cfg)
    subnet, data, expected = _run(runner, depths, num_samples, calibrate)
    if dataset_meta is None:
        dataset = get_train_loader(runner).dataset
        dataset_meta = getattr(dataset, 'metainfo', None)
    with _make_folder(out) as folder:
        meta = {} if dataset_meta is None else dict(dataset_meta=dataset_meta)
        checkpoint = dict(state_dict=subnet.state_dict(), meta=meta)
        write_checkpoint(strip_checkpoint(checkpoint), folder / f'{name}.pth')
        needed = write_config(
            plain, model, depths, changes, folder, name, notes
        )
        standalone = build_from(folder, name).to(expected[0].device)
        if not are_same(compute_outputs(standalone, data), expected):
            raise ValueError(
                'the outputs of the exported subnet differ from those of the '
                f'subnet in place by more than {TOLERANCE}, so nothing was '
                'written. A model that draws random numbers in evaluation '
                'mode cannot be exported'
            )
        write_formats(formats, standalone, data, folder / name)
    return needed


def check_out(out: Path) -> None:
    """Refuse a folder with files in it.

    Raises:
        ValueError: If there are any.

    Example:
        >>> check_out(folder / 'new')  # refuses a folder with files in it
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f'{out} already exists and is not empty: choose another folder '
            'with --out'
        )


def _run(
    runner: Runner, depths: Sequence[int], num_samples: int, calibrate: bool
) -> Tuple[nn.Module, Dict[str, Any], List[Tensor]]:
    """Return the exported subnet, a batch, and the outputs in place."""
    model = unwrap_model(runner.model)
    data = next(iter(get_train_loader(runner)))
    is_main = list(depths) == [len(stage) for stage in find_stages(model)]
    in_place = run_as_subnet(runner, None if is_main else depths, num_samples)
    with preserve_modes(model), in_place, ExitStack() as stack:
        if calibrate:
            stack.enter_context(bake_temperature(runner, num_samples))
        expected = compute_outputs(model, data)
        weights = copy.deepcopy(model.state_dict())
    whole = copy.deepcopy(model)
    whole.load_state_dict(weights)
    return export_subnet(whole, depths), data, expected


@contextmanager
def _make_folder(out: Path) -> Iterator[Path]:
    """Make a folder that gets its name only once it is complete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(mkdtemp(prefix=f'.{out.name}.', dir=str(out.parent)))
    try:
        yield part
        part.chmod(0o755)
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
