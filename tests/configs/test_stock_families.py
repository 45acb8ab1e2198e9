"""Stock config families with a residual backbone, on odd data.

The page of the docs says which of them train, and is the list that is run.
"""

import copy
import importlib
import re
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope

import mmst
from mmst.engine import st_step
from mmst.subnets import Subnet, find_stages
from mmst.targets import prepare_dataset
from tests.conftest import ROOT, sgd

PAGE = ROOT / 'docs/stock_configs.md'
ROWS = [
    row
    for row in re.findall(
        r'^\| (\w+) \| `(.+?)` \| (.+?) \|$', PAGE.read_text(), re.MULTILINE
    )
    if not row[2].startswith('not tried')
]
MAIN = (128, 128)
CASES = dict(
    tiny=[(MAIN, 'tiny')] * 2,
    none=[(MAIN, 'none')] * 2,
    crowd=[(MAIN, 'crowd')] * 2,
    sizes=[(MAIN, 'plain'), ((96, 80), 'plain')],
)
SOURCES = str(Path(mmst.__file__).parent)
#: What makes a model of a toolbox small: key of the config -> value.
SMALL: Dict[str, Dict[str, Any]] = dict(
    mmdet={
        'train_cfg.rpn_proposal.max_per_img': 50,
        'train_cfg.rcnn.sampler.num': 32,
        'data_preprocessor.batch_augments': None,  # pads to 1024 px
    },
    mmseg={'data_preprocessor.size': MAIN},
    mmpose={},
)


class OddScenes(BaseDataset):
    """Noise with what a toolbox's data sets annotate, in memory."""

    def __init__(
        self, scene: Callable, case: str, pipeline: List[dict]
    ) -> None:
        self.scenes = [
            scene(np.random.default_rng(i), shape, content)
            for i, (shape, content) in enumerate(CASES[case])
        ]
        super().__init__(pipeline=pipeline)

    def load_data_list(self) -> List[dict]:
        """The scenes of a case."""
        return self.scenes


def _image(rng: np.random.Generator, shape: tuple, content: str) -> dict:
    """An image and its label map, of one class but for the object."""
    labels = np.zeros(shape, np.uint8)
    if content == 'crowd':
        labels[:] = 255
    elif content != 'none':
        side = 2 if content == 'tiny' else 40
        labels[20 : 20 + side, 20 : 20 + side] = 1
    return dict(
        img=rng.integers(0, 256, (*shape, 3), np.uint8),
        img_shape=shape,
        ori_shape=shape,
        img_id=0,
        id=0,
        scale_factor=(1.0, 1.0),
        flip=False,
        seg_fields=['gt_seg_map'],
        gt_seg_map=labels,
    )


def _instances(rng: np.random.Generator, shape: tuple, content: str) -> dict:
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    number, side = int(content != 'none'), 2 if content == 'tiny' else 40
    box = np.array([[20, 20, 20 + side, 20 + side]], np.float32)[:number]
    masks = np.zeros((number, *shape), np.uint8)
    masks[:, 20 : 20 + side, 20 : 20 + side] = 1
    return dict(
        _image(rng, shape, content),
        gt_bboxes=HorizontalBoxes(box),
        gt_bboxes_labels=np.zeros(number, np.int64),
        gt_masks=BitmapMasks(masks, *shape),
        gt_ignore_flags=np.full(number, content == 'crowd'),
    )


def _person(joints: int) -> Callable:
    """People of a number of joints; none and crowd: no joint is labelled."""

    def person(rng: np.random.Generator, shape: tuple, content: str) -> dict:
        side = 2 if content == 'tiny' else 40
        visible = content not in ('none', 'crowd')
        points = rng.uniform(20, 20 + side, (1, joints, 2))
        return dict(
            _image(rng, shape, content),
            category_id=1,
            iscrowd=int(content == 'crowd'),
            keypoints=points.astype(np.float32),
            keypoints_visible=np.full((1, joints), visible, np.float32),
            bbox=np.array([[20, 20, 20 + side, 20 + side]], np.float32),
            bbox_score=np.ones(1, np.float32),
            flip_indices=list(range(joints)),
        )

    return person


def scenes_of(toolbox: str, cfg: Config, case: str) -> OddScenes:
    """A case's data, prepared for subnets."""
    if toolbox == 'mmpose':
        head = cfg.model.head
        joints = head.get('num_joints') or head.out_channels
        pipeline = [
            dict(type='GetBBoxCenterScale'),
            dict(type='TopdownAffine', input_size=cfg.codec.input_size),
            dict(type='GenerateTarget', encoder=cfg.codec),
            dict(type='PackPoseInputs'),
        ]
        data = OddScenes(_person(joints), case, pipeline)
    elif toolbox == 'mmseg':
        data = OddScenes(_image, case, [dict(type='PackSegInputs')])
    else:
        data = OddScenes(_instances, case, [dict(type='PackDetInputs')])
    prepare_dataset(data)
    return data


def _without_weights(cfg: Any) -> None:
    """Nothing is downloaded: no part asks for pretrained weights."""
    if isinstance(cfg, (list, tuple)):
        for part in cfg:
            _without_weights(part)
    if not isinstance(cfg, dict):
        return
    if 'pretrained' in cfg:
        cfg['pretrained'] = None
    for key, value in cfg.items():
        if key == 'init_cfg' and 'Pretrained' in str(value):
            cfg[key] = None
        else:
            _without_weights(value)


def build(toolbox: str, cfg: Config) -> torch.nn.Module:
    """The stock model with random weights, in training mode."""
    _without_weights(cfg.model)
    for key, value in SMALL[toolbox].items():
        *parts, last = key.split('.')
        parent = cfg.model
        for part in parts:
            parent = (parent or {}).get(part)
            if isinstance(parent, list):  # of a cascade: as it is
                parent = None
        if last in (parent or {}):
            parent[last] = value
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    return model.train()


def outcome_of(model: torch.nn.Module, data: OddScenes) -> str:
    """Take an ST* iteration on the data and say how it went.

    Any other error than a refusal of mmst's own is what the page is there to
    find, and is raised; st_step itself refuses losses that are not finite.
    """
    batch = pseudo_collate([data[i] for i in range(len(data))])
    try:
        blocks = [len(stage) for stage in find_stages(model)]
        subnet = Subnet.ordered([1] * len(blocks), blocks, size=0.5)
        st_step(model, batch, sgd(model, lr=1e-4), [subnet])
    except (TypeError, ValueError) as error:
        raised = traceback.extract_tb(error.__traceback__)[-1].filename
        if not raised.startswith(SOURCES):
            raise
        return 'refused: ' + ' '.join(str(error).split())
    return 'trains'


def outcomes(toolbox: str, config: str) -> Dict[str, str]:
    """A family's outcome in each case."""
    folder = Path(importlib.import_module(toolbox).__file__).parent
    init_default_scope(toolbox)
    cfg = Config.fromfile(folder / '.mim/configs' / config)
    importlib.import_module(f'{toolbox}.utils').register_all_modules(True)
    model = build(toolbox, cfg)
    return {
        # A copy: a step on odd data may leave weights that no case is of.
        case: outcome_of(copy.deepcopy(model), scenes_of(toolbox, cfg, case))
        for case in CASES
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    'toolbox, config, expected', ROWS, ids=[row[1] for row in ROWS]
)
def test_outcome_is_the_page_s(toolbox, config, expected):
    """The same in each case, and in words of mmst where it is refused."""
    pytest.importorskip(toolbox)
    found = outcomes(toolbox, config)
    if expected.startswith('refused: '):
        words = expected[len('refused: ') :].replace('`', '')
        missing = {
            case: outcome
            for case, outcome in found.items()
            if not outcome.startswith('refused: ')
            or words not in outcome.replace('`', '')
        }
        assert not missing
    else:
        assert found == dict.fromkeys(CASES, expected)


def test_page_has_rows():
    """A table that is not found would make the test above empty."""
    toolboxes = {toolbox for toolbox, _, _ in ROWS}
    assert toolboxes == {'mmdet', 'mmseg', 'mmpose'}
