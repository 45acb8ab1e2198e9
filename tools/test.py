"""Test a checkpoint with the model and the test set of a config."""

import argparse
import sys
from typing import TYPE_CHECKING, Optional, Sequence

from mmst.launch.command_line import add_run_arguments
from mmst.launch.short_errors import print_short_error

if TYPE_CHECKING:
    from mmengine.config import Config

#: The options of a toolbox's visualization hook that switch it on and set its
#: folder; in mmseg the visualizer has the folder.
VISUALIZATION = dict(
    mmpretrain=('enable', 'out_dir'),
    mmpose=('enable', 'out_dir'),
    mmdet=('draw', 'test_out_dir'),
    mmseg=('draw', None),
)


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        '--out', help='file for the predictions (.pkl) or the metrics'
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what --out holds; default: pred',
    )
    parser.add_argument('--show-dir', help='draw the results to this folder')
    parser.add_argument(
        '--show', action='store_true', help='draw the results in a window'
    )
    parser.add_argument(
        '--interval', type=int, default=1, help='draw every N-th image'
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        help='seconds to show each window',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="use the config's tta_model and tta_pipeline; mmpretrain: "
        'flips, where it has none',
    )
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='test even if the checkpoint fills a part of the model only',
    )
    add_run_arguments(parser)
    parsed = parser.parse_args(args)
    parsed.out_item = check_out(parsed.out, parsed.out_item)
    return parsed


def check_out(out: Optional[str], item: Optional[str]) -> str:
    """Return what ``--out`` holds.

    Raises:
        ValueError: If the two flags do not fit together.
    """
    if out is None and item is not None:
        raise ValueError(f'--out-item {item} needs --out, the file to write')
    item = item or 'pred'
    endings = dict(
        pred=('.pkl', '.pickle'),
        metrics=('.json', '.yaml', '.yml', '.pkl', '.pickle'),
    )
    if out is not None and not out.endswith(endings[item]):
        raise ValueError(
            f'--out {out}: the file of --out-item {item} must '
            f'end with one of {", ".join(endings[item])}'
        )
    return item


def draw_results(cfg: 'Config', args: argparse.Namespace) -> None:
    """Switch the config's visualization hook on.

    Raises:
        ValueError: If the config has no visualization hook.
    """
    from mmst.launch.toolbox import find_toolbox

    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ValueError(
            '--show and --show-dir need '
            'default_hooks.visualization in the config'
        )
    switch, folder = VISUALIZATION.get(
        find_toolbox(cfg), VISUALIZATION['mmpretrain']
    )
    hook[switch] = True
    hook.update(
        show=args.show, interval=args.interval, wait_time=args.wait_time
    )
    if args.show_dir is not None and folder is not None:
        hook[folder] = args.show_dir
    elif args.show_dir is not None:
        cfg.visualizer.save_dir = args.show_dir


def use_tta(cfg: 'Config') -> None:
    """Test with the config's test time augmentation.

    Without it, a classifier of mmpretrain is tested with flips.

    Raises:
        ValueError: If the config of another toolbox has none.
    """
    from mmengine.config import ConfigDict

    from mmst.launch.toolbox import find_toolbox

    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:  # RepeatDataset and others
        dataset = dataset.dataset
    missing = [
        name for name in ('tta_model', 'tta_pipeline') if name not in cfg
    ]
    if missing and find_toolbox(cfg) != 'mmpretrain':
        raise ValueError(f'--tta needs {" and ".join(missing)} in the config')
    if 'tta_model' in missing:
        cfg.tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
    if 'tta_pipeline' in missing:
        # As in mmpretrain's own tool: each image and its mirror image.
        *before, pack = dataset.pipeline
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        cfg.tta_pipeline = [
            *before,
            dict(type='TestTimeAug', transforms=[flips, [pack]]),
        ]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def main(args: Optional[Sequence[str]] = None) -> None:
    parsed = parse_args(args)

    # Seconds of imports, which --help does without.
    import mmengine
    from mmengine.registry import METRICS

    from mmst.checkpoints.fit import check_fit
    from mmst.checkpoints.safe_load import safe_load
    from mmst.launch.configured_runner import build_runner, load_config
    from mmst.launch.toolbox import find_toolbox

    cfg = load_config(parsed)
    cfg.load_from, cfg.resume = parsed.checkpoint, False
    if parsed.amp:
        cfg.test_cfg.fp16 = True
    if parsed.show or parsed.show_dir is not None:
        draw_results(cfg, parsed)
    if parsed.tta:
        use_tta(cfg)
    refusal = (
        'The rest would keep random weights. Test the config of this '
        'checkpoint, or, to test all the same, add --allow-partial'
    )
    with safe_load(), check_fit(None if parsed.allow_partial else refusal):
        runner = build_runner(cfg)
        if parsed.out is not None and parsed.out_item == 'pred':
            # mmdet's version compresses instance masks.
            mmdet = find_toolbox(cfg) == 'mmdet'
            kind = 'mmdet.DumpDetResults' if mmdet else 'DumpResults'
            dump = dict(type=kind, out_file_path=parsed.out)
            runner.test_evaluator.metrics.append(METRICS.build(dump))
        metrics = runner.test()
    if parsed.out is not None and parsed.out_item == 'metrics':
        if runner.rank == 0:
            mmengine.dump(metrics, parsed.out)


if __name__ == '__main__':
    sys.excepthook = print_short_error
    main()
