"""Distributed runs on a machine without an accelerator."""

import logging
from datetime import timedelta
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.logging import print_log
from torch import distributed as torch_dist

from .configured_training import get_class_name


def prepare_launch(cfg: Config) -> None:
    """Make a distributed config run on CPUs; change nothing elsewhere.

    By default mmengine selects a CUDA device for each process and passes it
    to DDP; both fail without a GPU. So the process group is created here, with
    gloo, before the runner would create it, and DDP gets no device. SyncBN,
    which needs an accelerator, becomes BatchNorm in the config.
    """
    if cfg.get('launcher', 'none') == 'none' or get_device() != 'cpu':
        return
    if cfg.launcher != 'pytorch':
        raise ValueError(
            f"launcher='{cfg.launcher}' needs an accelerator, and this "
            'machine has none; on CPUs use --launcher pytorch '
            '(tools/dist_train.sh)'
        )
    if not is_distributed():
        options = {}
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        if timeout is not None:
            options['timeout'] = timedelta(seconds=timeout)
        torch_dist.init_process_group('gloo', **options)
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:  # the runner's default
        wrapper = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
    if _replace_sync_bn(cfg.get('model', {})):
        print_log(
            'SyncBN needs an accelerator: each process normalises with its '
            'own batch (BN)',
            'current',
            level=logging.WARNING,
        )


def _replace_sync_bn(node: Any) -> bool:
    """Replace SyncBN by BN in part of a config; return if there was any."""
    if isinstance(node, (list, tuple)):
        return any([_replace_sync_bn(item) for item in node])
    if not isinstance(node, dict):
        return False
    found = get_class_name(node) in ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')
    if found:
        node['type'] = 'BN'
    return any([found, *map(_replace_sync_bn, node.values())])
