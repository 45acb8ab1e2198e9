"""The frameworks of ``demo/downstream.py``: real configs made small."""

from typing import Dict, List, NamedTuple, Tuple

COCO = 'data/digit_scenes/coco/'
CITYSCAPES = 'data/digit_scenes/cityscapes/'
# ResNet-18 with a quarter of the channels.
BACKBONE = [
    'model.backbone.depth=18',
    'model.backbone.base_channels=16',
    'model.backbone.stem_channels=16',
]

# For its two blocks per stage; like [1, 2, 4, 1] for ResNet-50.
SPACE = '[1,2,2,1]'


class Framework(NamedTuple):
    """A framework: what to run, and which metrics to read.

    Attributes:
        config: Its path, with {} for the method.
        metrics: Their names in the log.
        options: What makes it small.
        length: Of the training, in epochs, or in iterations.
        milestones: Where the learning rate falls; empty: all the time, and
            the training counts iterations.
        sampler: Index of the sampler hook among the custom hooks.
    """

    config: str
    metrics: Tuple[str, ...]
    options: List[str]
    length: int = 12
    milestones: Tuple[int, ...] = (8, 11)
    sampler: int = 0

    @property
    def unit(self) -> str:
        """What the length counts."""
        return 'epochs' if self.milestones else 'iters'

    def list_schedule(self, length: int) -> List[str]:
        """List the options of a training of another length.

        The learning rate falls at the same fractions of it, and the warm-up
        stays.
        """
        options = [
            f'train_cfg.max_{self.unit}={length}',
            f'train_cfg.val_interval={length}',
        ]
        if not self.milestones:
            return [*options, f'param_scheduler.0.end={length}']
        milestones = [round(m * length / self.length) for m in self.milestones]
        return [
            *options,
            f'param_scheduler.1.end={length}',
            f'param_scheduler.1.milestones={milestones}'.replace(' ', ''),
        ]


def list_coco_options(kind: str) -> List[str]:
    """List the data of a config for COCO."""
    ann_file = f'{COCO}annotations/{kind}_val2017.json'
    return [
        *(
            f'{split}_dataloader.dataset.data_root={COCO}'
            for split in ('train', 'val')
        ),
        f'val_evaluator.ann_file={ann_file}',
    ]


def list_detector_options(*parts: str, kind: str = 'instances') -> List[str]:
    """List options of a detector with 64 channels, on images of 192 px."""
    narrow = [f'model.{part}=64' for part in ('neck.out_channels', *parts)]
    return [
        *list_coco_options(kind),
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
            'default_hooks.checkpoint.interval=300',
        ],
        length=1200,
        milestones=(),
    ),
    'simple-baseline': Framework(
        'st_pose/td-hm_res50-{}_8xb64-210e_coco-256x192.py',
        ('coco/AP',),
        [
            *list_coco_options('person_keypoints'),
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
            'default_hooks.checkpoint.save_best=None',
        ],
        length=30,
        milestones=(24, 28),
        sampler=1,
    ),
}
