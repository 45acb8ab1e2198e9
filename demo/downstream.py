"""Fine-tune on the digit scenes, without (ST) and with subnets (ST*).

Runs small versions of the configs in configs/st_det, st_seg and st_pose: a
narrow ResNet-18, pretrained with ST on the demo data, narrow heads and a short
schedule. Prints each framework's metrics and writes them as JSON. Finished
runs are reused, and stopped runs are resumed.
"""

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import numpy as np
from run_logged import ROOT, train_logged

from mmst.analysis.scores import compute_mean_and_interval
from mmst.analysis.training_log import read_training_log

COCO = 'data/digit_scenes/coco/'
CITYSCAPES = 'data/digit_scenes/cityscapes/'
METHODS = {'st': 'ST', 'st-star': 'ST*'}
PRETRAIN = 'configs/demo/resnet18_st_mnistm5k.py'
# ResNet-18 with a quarter of the channels.
BACKBONE = [
    'model.backbone.depth=18',
    'model.backbone.base_channels=16',
    'model.backbone.stem_channels=16',
]

# For its two blocks per stage; like [1, 2, 4, 1] for ResNet-50.
SPACE = '[1,2,2,1]'


# framework -> metric -> method -> a value for each seed, in %
Results = Dict[str, Dict[str, Dict[str, List[float]]]]


class Framework(NamedTuple):
    """A framework: what to run, and which metrics to read."""

    config: str  # with {} for the method
    metrics: Tuple[str, ...]
    options: List[str]
    sampler: int = 0  # index of the sampler hook among the custom hooks


def list_coco_options(kind: str, num_epochs: int) -> List[str]:
    """List data and schedule options of an epoch-based config for COCO."""
    ann_file = f'{COCO}annotations/{kind}_val2017.json'
    return [
        *(
            f'{split}_dataloader.dataset.data_root={COCO}'
            for split in ('train', 'val')
        ),
        f'val_evaluator.ann_file={ann_file}',
        f'train_cfg.max_epochs={num_epochs}',
        f'train_cfg.val_interval={num_epochs}',
    ]


def list_detector_options(*parts: str, kind: str = 'instances') -> List[str]:
    """List options of a detector with 64 channels, on images of 192 px."""
    narrow = [f'model.{part}=64' for part in ('neck.out_channels', *parts)]
    return [
        *list_coco_options(kind, 12),
        *narrow,
        'model.neck.in_channels=[16,32,64,128]',
        'train_dataloader.batch_size=4',
        'train_dataloader.dataset.pipeline.2.scale=(192,144)',
        'val_dataloader.dataset.pipeline.1.scale=(192,144)',
        # mmdet's warm-up is half an epoch of COCO long.
        'param_scheduler.0.end=100',
        'optim_wrapper.optimizer.lr=1e-3',
    ]


RPN = ('rpn_head.in_channels', 'rpn_head.feat_channels')
BOX = (
    'roi_head.bbox_roi_extractor.out_channels',
    'roi_head.bbox_head.in_channels',
)
MASK = (
    'roi_head.mask_roi_extractor.out_channels',
    'roi_head.mask_head.in_channels',
    'roi_head.mask_head.conv_out_channels',
)
DENSE = ('bbox_head.in_channels', 'bbox_head.feat_channels')
TWO_STAGE = [
    'model.train_cfg.rpn_proposal.nms_pre=400',
    'model.train_cfg.rpn_proposal.max_per_img=100',
    'model.test_cfg.rpn.max_per_img=200',
]
ROI = [
    *TWO_STAGE,
    'model.train_cfg.rcnn.sampler.num=64',
    'model.roi_head.bbox_head.fc_out_channels=256',
]
DET = 'st_det/{}_r50-{{}}_fpn_adamw-1x_coco.py'
FRAMEWORKS: Dict[str, Framework] = {
    'faster-rcnn': Framework(
        DET.format('faster-rcnn'),
        ('coco/bbox_mAP',),
        list_detector_options(*RPN, *BOX) + ROI,
    ),
    'cascade-rcnn': Framework(
        DET.format('cascade-rcnn'),
        ('coco/bbox_mAP',),
        list_detector_options(
            *RPN,
            BOX[0],
            *(f'roi_head.bbox_head.{i}.in_channels' for i in range(3)),
        )
        + TWO_STAGE
        + [f'model.train_cfg.rcnn.{i}.sampler.num=64' for i in range(3)]
        + [
            f'model.roi_head.bbox_head.{i}.fc_out_channels=256'
            for i in range(3)
        ],
    ),
    'fcos': Framework(
        'st_det/fcos_r50-{}_fpn_gn-head_adamw-1x_coco.py',
        ('coco/bbox_mAP',),
        list_detector_options(*DENSE),
    ),
    'atss': Framework(
        DET.format('atss'), ('coco/bbox_mAP',), list_detector_options(*DENSE)
    ),
    'mask-rcnn': Framework(
        DET.format('mask-rcnn'),
        ('coco/bbox_mAP', 'coco/segm_mAP'),
        list_detector_options(*RPN, *BOX, *MASK) + ROI,
    ),
    'panoptic-fpn': Framework(
        DET.format('panoptic-fpn'),
        ('coco_panoptic/PQ',),
        list_detector_options(
            *RPN,
            *BOX,
            *MASK,
            'semantic_head.in_channels',
            'semantic_head.inner_channels',
            kind='panoptic',
        )
        + ROI
        + [
            f'val_evaluator.seg_prefix={COCO}annotations/panoptic_val2017/',
            'model.test_cfg.panoptic.stuff_area_limit=512',
        ],
    ),
    'semantic-fpn': Framework(
        'st_seg/fpn_r50-{}_4xb2-adamw-80k_cityscapes-512x1024.py',
        ('mIoU',),
        [
            *(
                f'{split}_dataloader.dataset.data_root={CITYSCAPES}'
                for split in ('train', 'val')
            ),
            'train_dataloader.dataset.pipeline.2.scale=(256,128)',
            'train_dataloader.dataset.pipeline.3.crop_size=(128,256)',
            'val_dataloader.dataset.pipeline.1.scale=(256,128)',
            'model.data_preprocessor.size=(128,256)',
            'model.neck.in_channels=[16,32,64,128]',
            'model.neck.out_channels=64',
            'model.decode_head.in_channels=[64,64,64,64]',
            'model.decode_head.channels=64',
            'train_dataloader.batch_size=4',
            'optim_wrapper.optimizer.lr=2e-3',
            'train_cfg.max_iters=1200',
            'train_cfg.val_interval=1200',
            'param_scheduler.0.end=1200',
            'default_hooks.checkpoint.interval=300',
        ],
    ),
    'simple-baseline': Framework(
        'st_pose/td-hm_res50-{}_8xb64-210e_coco-256x192.py',
        ('coco/AP',),
        [
            *list_coco_options('person_keypoints', 30),
            'train_dataloader.dataset.pipeline.5.input_size=(96,128)',
            'val_dataloader.dataset.pipeline.2.input_size=(96,128)',
            *(
                f'{codec}.{option}'
                for codec in (
                    'train_dataloader.dataset.pipeline.6.encoder',
                    'model.head.decoder',
                )
                for option in (
                    'input_size=(96,128)',
                    'heatmap_size=(24,32)',
                    'sigma=1',
                )
            ),
            'val_dataloader.dataset.bbox_file=None',
            'model.head.in_channels=128',
            'model.head.deconv_out_channels=[64,64,64]',
            'train_dataloader.batch_size=16',
            'param_scheduler.0.end=100',
            'param_scheduler.1.milestones=[24,28]',
            'default_hooks.checkpoint.save_best=None',
        ],
        1,
    ),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--frameworks',
        nargs='+',
        choices=list(FRAMEWORKS),
        default=['mask-rcnn', 'semantic-fpn', 'simple-baseline'],
    )
    parser.add_argument(
        '--methods', nargs='+', choices=list(METHODS), default=list(METHODS)
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument(
        '--work-dir', type=Path, default=ROOT / 'work_dirs' / 'demo_downstream'
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        help='parallel runs, one thread each; default: one per core',
    )
    return parser.parse_args()


def train(name: str, config: str, folder: Path, options: List[str]) -> Path:
    """Train, or reuse an existing run; return the last checkpoint."""
    last, done = folder / 'last_checkpoint', folder / 'done'
    if not done.exists():
        train_logged(name, config, folder, ['--cfg-options', *options])
        done.touch()
    return Path(last.read_text())


def read_last_metric(folder: Path, metric: str) -> float:
    """Read the metric of a run's last validation, in %.

    Raises:
        ValueError: If it did not validate at its end.
    """
    log = read_training_log(str(folder))
    scores = log.metrics.get(log.iterations, {})
    if metric not in scores:
        raise ValueError(
            f'{folder} has no {metric} at its end: nothing was detected, or '
            'the run was stopped between its last checkpoint and its '
            'validation. Then delete the folder and start again: the other '
            'runs are kept'
        )
    # COCO's AP is a fraction; PQ and mIoU are in % already.
    return scores[metric] * (100 if metric.startswith('coco/') else 1)


def fine_tune(
    name: str, method: str, seed: int, backbone: Path, work_dir: Path
) -> List[float]:
    """Fine-tune a framework once; return its metrics in %."""
    framework = FRAMEWORKS[name]
    folder = work_dir / name / method / f'seed{seed}'
    train(
        f'{name} {METHODS[method]} seed {seed}',
        'configs/' + framework.config.format(method),
        folder,
        [
            *BACKBONE,
            *framework.options,
            f'model.backbone.init_cfg.checkpoint={backbone}',
            f'randomness.seed={seed}',
            *(
                f'{split}_dataloader.num_workers=0'
                for split in ('train', 'val')
            ),
            *(
                f'{split}_dataloader.persistent_workers=False'
                for split in ('train', 'val')
            ),
            *(
                [f'custom_hooks.{framework.sampler}.space={SPACE}']
                if method == 'st-star'
                else []
            ),
        ],
    )
    return [read_last_metric(folder, metric) for metric in framework.metrics]


def format_table(results: Results) -> str:
    """Format frameworks against methods, and what ST* adds per seed."""
    lines = []
    for name, metrics in results.items():
        for metric, methods in metrics.items():
            cells = [
                f'{METHODS[method]} {mean:.2f} +- {half:.2f}'
                for method, values in methods.items()
                for mean, half in [compute_mean_and_interval(values)]
            ]
            if len(methods) == 2:
                mean, half = compute_mean_and_interval(
                    np.subtract(methods['st-star'], methods['st'])
                )
                cells.append(f'ST* - ST {mean:+.2f} +- {half:.2f}')
            lines.append(f'{name:<16} {metric:<16} ' + '   '.join(cells))
    return '\n'.join(lines)


def main() -> None:
    """Pretrain, fine-tune, then print and write the results."""
    args = parse_args()
    args.work_dir = args.work_dir.resolve()
    backbone = train(
        'pretraining',
        PRETRAIN,
        args.work_dir / 'pretrain',
        ['randomness.seed=0'],
    )
    runs = [
        (name, method, seed)
        for seed in args.seeds
        for name in args.frameworks
        for method in args.methods
    ]
    print(
        f'{len(runs)} runs, {args.jobs} at a time; logs in {args.work_dir}',
        flush=True,
    )
    with ThreadPoolExecutor(args.jobs) as pool:
        values = list(
            pool.map(
                lambda run: fine_tune(*run, backbone, args.work_dir), runs
            )
        )
    results: Results = {}
    for (name, method, _), run_values in zip(runs, values):
        for metric, value in zip(FRAMEWORKS[name].metrics, run_values):
            methods = results.setdefault(name, {}).setdefault(metric, {})
            methods.setdefault(method, []).append(value)
    print(
        f'\nmean and 95 % interval over seeds {args.seeds}\n'
        f'{format_table(results)}'
    )
    path = args.work_dir / 'demo_downstream.json'
    path.write_text(
        json.dumps(dict(seeds=args.seeds, results=results), indent=1)
    )
    print(f'\nWritten: {path}')


if __name__ == '__main__':
    main()
