"""A runner with a trained checkpoint, for evaluation."""

from pathlib import Path
from typing import Any, Dict, Optional, Union

from mmengine.runner import Runner

from mmst.checkpoints.fit import check_fit
from mmst.checkpoints.safe_load import safe_load

from .toolbox import check_toolbox, read_config


def load_trained_runner(
    config: str,
    checkpoint: str,
    work_dir: Union[str, Path],
    cfg_options: Optional[Dict[str, Any]] = None,
) -> Runner:
    """Build the runner of a config and load a checkpoint into its model.

    No code of the checkpoint is run, and it has to fill the whole model.
    """
    cfg = read_config(config, cfg_options)
    check_toolbox(cfg)
    cfg.work_dir = str(work_dir)
    # Only training needs hooks that save the best model or swap in EMA
    # weights, pictures of predictions, and tracking services.
    cfg.merge_from_dict({'custom_hooks': [], 'default_hooks.checkpoint': None})
    cfg.default_hooks.pop('visualization', None)
    if cfg.get('visualizer') is not None:
        cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    # The environment and the config would stand before each result.
    cfg.log_level = 'WARNING'
    # Makes results reproducible.
    randomness = cfg.get('randomness') or {}
    if randomness.get('seed') is None:
        cfg.randomness = dict(randomness, seed=0)
    runner = Runner.from_cfg(cfg)
    refusal = f'{config} is not the config that it was trained by'
    with safe_load(), check_fit(refusal):
        runner.load_checkpoint(checkpoint)
    return runner
