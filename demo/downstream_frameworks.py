"""The frameworks of ``demo/downstream.py``: real configs made small."""

from typing import Any, Dict, NamedTuple, Tuple

COCO = 'data/digit_scenes/coco/'
CITYSCAPES = 'data/digit_scenes/cityscapes/'
#: Changes of a config, by its key.
Options = Dict[str, Any]
# ResNet-18 with a quarter of the channels.
BACKBONE: Options = {
    'model.backbone.depth': 18,
    'model.backbone.base_channels': 16,
    'model.backbone.stem_channels': 16,
}
# For its two blocks per stage; like [1, 2, 4, 1] for ResNet-50.
SPACE = [1, 2, 2, 1]


class Framework(NamedTuple):
    """A framework: what to run, and which metrics to read.

    Attributes:
        config: Its path, with {} for the method.
        metrics: Their names in the log.
        options: Changes that make it small.
        length: Length of the training, in epochs, or in iterations.
        milestones: Where the learning rate falls; empty: all the time, and
            the training counts iterations.
        sampler: Index of the sampler hook among the custom hooks.
    """

    config: str
    metrics: Tuple[str, ...]
    options: Options
    length: int = 12
    milestones: Tuple[int, ...] = (8, 11)
    sampler: int = 0

    @property
    def unit(self) -> str:
        """Unit of the length."""
        return 'epochs' if self.milestones else 'iters'

    def list_schedule(self, length: int) -> Options:
        """List the options of a training of another length.

        The learning rate falls at the same fractions of it, and the warm-up
        stays.
        """
        options = {
            f'train_cfg.max_{self.unit}': length,
            'train_cfg.val_interval': length,
        }
        if not self.milestones:
            return {**options, 'param_scheduler.0.end': length}
        milestones = [round(m * length / self.length) for m in self.milestones]
        return {
            **options,
            'param_scheduler.1.end': length,
            'param_scheduler.1.milestones': milestones,
        }

    def list_options(self, method: str, length: int) -> Options:
        """List all changes of a method's config, but for its weights."""
        options = {
            **BACKBONE,
            **self.options,
            **self.list_schedule(length),
            **both('num_workers', 0),
            **both('persistent_workers', False),
        }
        if method == 'st-star':
            options[f'custom_hooks.{self.sampler}.space'] = SPACE
        return options


def both(key: str, value: Any) -> Options:
    """Set an option of both data loaders."""
    return {f'{split}_dataloader.{key}': value for split in ('train', 'val')}


def read_coco(kind: str) -> Options:
    """Set the data of a config for COCO."""
    ann_file = f'{COCO}annotations/{kind}_val2017.json'
    return {
        **both('dataset.data_root', COCO),
        'val_evaluator.ann_file': ann_file,
    }


def detect(
    name: str,
    metrics: Tuple[str, ...],
    parts: Tuple[str, ...],
    more: Options,
    data: str = 'instances',
) -> Framework:
    """Make a small detector, on images of 192 px.

    Args:
        name: Its name in the configs, with that of its neck.
        metrics: Their names in the log.
        parts: Widths of its heads that become 64.
        more: Other options.
        data: Kind of annotations.
    """
    options = {
        **read_coco(data),
        **{f'model.{part}': 64 for part in ('neck.out_channels', *parts)},
        'model.neck.in_channels': [16, 32, 64, 128],
        'train_dataloader.batch_size': 4,
        'train_dataloader.dataset.pipeline.2.scale': (192, 144),
        'val_dataloader.dataset.pipeline.1.scale': (192, 144),
        # mmdet's warm-up is half an epoch of COCO long.
        'param_scheduler.0.end': 100,
        'optim_wrapper.optimizer.lr': 1e-3,
        **more,
    }
    config = f'st_det/{name}_adamw-1x_coco.py'
    return Framework(config, metrics, options)


RPN = ('rpn_head.in_channels', 'rpn_head.feat_channels')
BOX = ('roi_head.bbox_roi_extractor.out_channels',)
BOX_HEAD = ('roi_head.bbox_head.in_channels',)
MASK = (
    'roi_head.mask_roi_extractor.out_channels',
    'roi_head.mask_head.in_channels',
    'roi_head.mask_head.conv_out_channels',
)
SEMANTIC = ('semantic_head.in_channels', 'semantic_head.inner_channels')
DENSE = ('bbox_head.in_channels', 'bbox_head.feat_channels')
BOX_AP = ('coco/bbox_mAP',)
TWO_STAGE: Options = {
    'model.train_cfg.rpn_proposal.nms_pre': 400,
    'model.train_cfg.rpn_proposal.max_per_img': 100,
    'model.test_cfg.rpn.max_per_img': 200,
}
ROI: Options = {
    **TWO_STAGE,
    'model.train_cfg.rcnn.sampler.num': 64,
    'model.roi_head.bbox_head.fc_out_channels': 256,
}
CASCADE: Options = dict(TWO_STAGE)
for stage in range(3):
    CASCADE[f'model.train_cfg.rcnn.{stage}.sampler.num'] = 64
    CASCADE[f'model.roi_head.bbox_head.{stage}.in_channels'] = 64
    CASCADE[f'model.roi_head.bbox_head.{stage}.fc_out_channels'] = 256

POSE_SIZES: Options = {
    f'{codec}.{name}': value
    for codec in (
        'train_dataloader.dataset.pipeline.6.encoder',
        'model.head.decoder',
    )
    for name, value in (
        ('input_size', (96, 128)),
        ('heatmap_size', (24, 32)),
        ('sigma', 1),
    )
}
FRAMEWORKS: Dict[str, Framework] = {
    'faster-rcnn': detect(
        'faster-rcnn_r50-{}_fpn', BOX_AP, RPN + BOX + BOX_HEAD, ROI
    ),
    'cascade-rcnn': detect(
        'cascade-rcnn_r50-{}_fpn', BOX_AP, RPN + BOX, CASCADE
    ),
    'fcos': detect('fcos_r50-{}_fpn_gn-head', BOX_AP, DENSE, {}),
    'atss': detect('atss_r50-{}_fpn', BOX_AP, DENSE, {}),
    'mask-rcnn': detect(
        'mask-rcnn_r50-{}_fpn',
        (*BOX_AP, 'coco/segm_mAP'),
        RPN + BOX + BOX_HEAD + MASK,
        ROI,
    ),
    'panoptic-fpn': detect(
        'panoptic-fpn_r50-{}_fpn',
        ('coco_panoptic/PQ',),
        RPN + BOX + BOX_HEAD + MASK + SEMANTIC,
        {
            **ROI,
            'val_evaluator.seg_prefix': f'{COCO}annotations/panoptic_val2017/',
            'model.test_cfg.panoptic.stuff_area_limit': 512,
        },
        data='panoptic',
    ),
    'semantic-fpn': Framework(
        'st_seg/fpn_r50-{}_4xb2-adamw-80k_cityscapes-512x1024.py',
        ('mIoU',),
        {
            **both('dataset.data_root', CITYSCAPES),
            'train_dataloader.dataset.pipeline.2.scale': (256, 128),
            'train_dataloader.dataset.pipeline.3.crop_size': (128, 256),
            'val_dataloader.dataset.pipeline.1.scale': (256, 128),
            'model.data_preprocessor.size': (128, 256),
            'model.neck.in_channels': [16, 32, 64, 128],
            'model.neck.out_channels': 64,
            'model.decode_head.in_channels': [64, 64, 64, 64],
            'model.decode_head.channels': 64,
            'train_dataloader.batch_size': 4,
            'optim_wrapper.optimizer.lr': 2e-3,
            'default_hooks.checkpoint.interval': 300,
        },
        length=1200,
        milestones=(),
    ),
    'simple-baseline': Framework(
        'st_pose/td-hm_res50-{}_8xb64-210e_coco-256x192.py',
        ('coco/AP',),
        {
            **read_coco('person_keypoints'),
            'train_dataloader.dataset.pipeline.5.input_size': (96, 128),
            'val_dataloader.dataset.pipeline.2.input_size': (96, 128),
            **POSE_SIZES,
            'val_dataloader.dataset.bbox_file': None,
            'model.head.in_channels': 128,
            'model.head.deconv_out_channels': [64, 64, 64],
            'train_dataloader.batch_size': 16,
            'param_scheduler.0.end': 100,
            'default_hooks.checkpoint.save_best': None,
        },
        length=30,
        milestones=(24, 28),
        sampler=1,
    ),
}
