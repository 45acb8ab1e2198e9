"""Build a runner from a command line, for tools/train.py and test.py."""

import os
from argparse import Namespace
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .configured_training import get_class_name
from .process_group import prepare_launch
from .toolbox import check_toolbox, find_toolbox, read_config


def load_config(args: Namespace) -> Config:
    """Read the config and apply the flags that training and testing share.

    They are those of :func:`mmst.launch.command_line.add_run_arguments`.

    Args:
        args (Namespace): Parsed command line, with ``config``.

    Returns:
        Config: The config, to which a tool adds its own flags.

    Raises:
        ModuleNotFoundError: If the config's toolbox is not installed.
        ValueError: If ``--amp`` is given on a device that cannot run it.
    """
    cfg = read_config(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    check_toolbox(cfg)
    if args.amp and get_device() in ('cpu', 'mps'):
        raise ValueError(
            '--amp needs a GPU, NPU, MLU or MUSA device, and this machine '
            f"has only '{get_device()}': leave --amp out"
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    _set_dataloaders(cfg, args)
    _drop_late_schedulers(cfg)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the config's runner, on the available devices."""
    prepare_launch(cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def _set_dataloaders(cfg: Config, args: Namespace) -> None:
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is None:
            continue
        if find_toolbox(cfg) == 'mmpretrain':
            # mmpretrain's configs leave these to the tool.
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', get_device() != 'cpu')
            loader.setdefault(
                'persistent_workers', loader.get('num_workers', 0) > 0
            )
        if args.no_pin_memory:
            loader.pin_memory = False
        if args.no_persistent_workers:
            loader.persistent_workers = False


def _drop_late_schedulers(cfg: Config) -> None:
    """Remove schedulers that would begin after the end of a shorter run.

    MMEngine refuses to build them. An example is a cosine after one epoch of
    warm-up with ``train_cfg.max_epochs=1``.
    """
    schedulers = cfg.get('param_scheduler')
    if not isinstance(schedulers, (list, tuple)):
        return
    train_cfg = cfg.get('train_cfg') or {}
    kept = []
    for scheduler in schedulers:
        unit = 'epochs' if scheduler.get('by_epoch', True) else 'iters'
        limit = train_cfg.get(f'max_{unit}')
        begin = scheduler.get('begin', 0)
        if limit is None or begin < limit or scheduler.get('end'):
            kept.append(scheduler)
        else:
            print(
                f'{get_class_name(scheduler)} of param_scheduler is left out: '
                f'it begins at {begin}, but the training ends at '
                f'max_{unit}={limit}'
            )
    if len(kept) < len(schedulers):
        cfg.param_scheduler = kept
