"""Train the model of a config, with or without stimulative training."""

import argparse
from typing import Optional, Sequence

from mmengine.config import Config

import mmst  # noqa: F401  registers its modules, custom_imports or not
from mmst.checkpoints.backbone_checkpoint import refuse_unfit_pretrained
from mmst.checkpoints.safe_load import safe_load
from mmst.launch.command_line import add_run_arguments
from mmst.launch.configured_runner import build_runner, load_config


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint, or, without a value, from the '
        'latest one in the work dir',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='train without validation'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size, from '
        'auto_scale_lr.base_batch_size',
    )
    add_run_arguments(parser)
    return parser.parse_args(args)


def use_amp(cfg: Config) -> None:
    """Train in mixed precision.

    Raises:
        ValueError: If the optimizer wrapper is one that AMP cannot replace.
    """
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    kind = kind if isinstance(kind, str) else kind.__name__
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(
            f"--amp cannot replace optim_wrapper.type = '{kind}'; set it to "
            'OptimWrapper or AmpOptimWrapper in the config'
        )
    wrapper.type = 'AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')


def apply_args(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the flags that only training has.

    Raises:
        ValueError: If a flag needs what the config does not have.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        use_amp(cfg)
    if args.resume is not None:
        cfg.resume = True
        # Without a checkpoint, the runner looks for the latest.
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ValueError(
                '--auto-scale-lr needs the batch size that the learning rate '
                'was chosen for: auto_scale_lr = dict(base_batch_size=...) '
                'in the config'
            )
        cfg.auto_scale_lr.enable = True


def main(args: Optional[Sequence[str]] = None) -> None:
    parsed = parse_args(args)
    cfg = load_config(parsed)
    apply_args(cfg, parsed)
    with safe_load(), refuse_unfit_pretrained():
        build_runner(cfg).train()


if __name__ == '__main__':
    main()
