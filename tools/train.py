"""Train the model of a config, with or without stimulative training."""

import argparse
import sys
from typing import TYPE_CHECKING, Optional, Sequence

from mmst.launch.command_line import add_run_arguments
from mmst.launch.short_errors import print_short_error

if TYPE_CHECKING:
    from mmengine.config import Config


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
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='with --resume: run the code that the checkpoint asks for, as '
        'MMEngine does, if it holds more than tensors and plain values',
    )
    add_run_arguments(parser)
    return parser.parse_args(args)


def use_amp(cfg: 'Config') -> None:
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


def apply_args(cfg: 'Config', args: argparse.Namespace) -> None:
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

    # Seconds of imports, which --help does without.
    from mmst.checkpoints.fit import check_fit
    from mmst.checkpoints.safe_load import safe_load
    from mmst.launch.configured_runner import (
        build_runner,
        check_data,
        load_config,
    )
    from mmst.launch.earlier_run import (
        describe_files_in_the_way,
        prepare_resume,
    )

    cfg = load_config(parsed)
    apply_args(cfg, parsed)
    refusal = None
    if cfg.get('resume'):
        note, goes_on = prepare_resume(cfg, parsed.trust_checkpoint)
        if not goes_on:
            print(note)
            return
        refusal = (
            'Resuming needs the network of the checkpoint. To start a new '
            'training from its weights: --cfg-options '
            f'load_from={cfg.get("load_from")}, without --resume'
        )
    else:
        note = describe_files_in_the_way(cfg)
    unknown = 'run' if parsed.trust_checkpoint else 'replace'
    with safe_load(unknown), check_fit(refusal):
        runner = build_runner(cfg)
        if note:
            runner.logger.warning(note)
        check_data(runner)
        runner.train()


if __name__ == '__main__':
    sys.excepthook = print_short_error
    main()
