"""Build a runner from a command line, for tools/train.py and test.py."""

import os
from argparse import Namespace
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.nn import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm

from .configured_training import get_class_name
from .process_group import prepare_launch
from .toolbox import check_toolbox, find_toolbox, read_config


def load_config(args: Namespace) -> Config:
    """Read the config and apply the flags that training and testing share.

    They are ``config`` and those of
    :func:`mmst.launch.command_line.add_run_arguments`.
    """
    cfg = read_config(args.config, args.cfg_options)
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
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def check_data(runner: Runner) -> None:
    """Refuse a training without iterations; warn of data that teach little.

    Builds the runner's train loop.
    """
    loop = runner.train_loop
    if loop is None:
        raise ValueError(
            'nothing to train: set train_cfg, train_dataloader and '
            'optim_wrapper in the config'
        )
    loader = loop.dataloader
    if loop.max_iters < 1:
        for name in ('max_epochs', 'max_iters'):
            number = runner.cfg.train_cfg.get(name, 1)
            if number < 1:
                raise ValueError(
                    f'train_cfg.{name}={number} trains no iteration: set it '
                    'to 1 or more'
                )
        raise ValueError(
            f'no iteration in an epoch: the data set has '
            f'{len(loader.dataset)} images, fewer than a batch of '
            f'{loader.batch_size}, and drop_last leaves that one out. Set a '
            'smaller train_dataloader.batch_size, or '
            'train_dataloader.drop_last=False'
        )
    warn = runner.logger.warning
    meta = getattr(loader.dataset, 'metainfo', None) or {}
    classes = list(meta.get('classes') or ())
    if find_toolbox(runner.cfg) == 'mmpretrain' and len(classes) == 1:
        warn(
            f"the training data have one class, '{classes[0]}': the right "
            'answer is the same for all images, so the loss falls to 0 and '
            'scores say nothing'
        )
    # In training mode, as a detector's layers may be frozen in another.
    runner.model.train()
    if loader.batch_size == 1 and any(
        isinstance(module, _BatchNorm)
        and not isinstance(module, SyncBatchNorm)
        and module.training
        for module in runner.model.modules()
    ):
        warn(
            'train_dataloader.batch_size=1: BatchNorm normalises each image '
            'by itself, unlike in testing, and fails where one value a '
            'channel is left. Set a larger batch, or another norm_cfg'
        )


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
    kept = []
    for scheduler in schedulers:
        unit = 'epochs' if scheduler.get('by_epoch', True) else 'iters'
        limit = (cfg.get('train_cfg') or {}).get(f'max_{unit}')
        begin = scheduler.get('begin', 0)
        if limit is None or begin < limit or scheduler.get('end'):
            kept.append(scheduler)
        else:
            print(
                f'{get_class_name(scheduler)} of param_scheduler is left out: '
                f'it begins at {begin}, but the training ends at '
                f'max_{unit}={limit}'
            )
    cfg.param_scheduler = kept
