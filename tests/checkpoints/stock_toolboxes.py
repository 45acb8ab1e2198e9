"""Load a published ResNet-50 in stock toolboxes, mmst out of reach.

Run as a process of its own, with the path of the published file and the names
of toolboxes besides mmpretrain.
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mmst_blocked  # noqa: E402, F401
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS, init_default_scope  # noqa: E402
from mmengine.runner import load_checkpoint  # noqa: E402

CONFIGS = dict(
    mmdet='faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    mmseg='sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
    mmpose='body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_res50_8xb64-210e_coco-256x192.py',
)


def build(scope, name, init_cfg=None):
    """The model of a stock config, with another start for its backbone."""
    models = import_module(f'{scope}.models')
    init_default_scope(scope)
    folder = Path(models.__file__).parents[1] / '.mim' / 'configs'
    cfg = Config.fromfile(folder / name).model
    if scope == 'mmseg':
        # Its own starts from a ResNet with a deep stem.
        cfg.pretrained, cfg.backbone.type = None, 'ResNet'
    if init_cfg is not None:
        cfg.backbone.init_cfg = init_cfg
    return MODELS.build(cfg)


path, *scopes = sys.argv[1:]
weights = torch.load(path, weights_only=True)['state_dict']
model = build('mmpretrain', 'resnet/resnet50_8xb32_in1k.py')
load_checkpoint(model, path, strict=True)
init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
for scope in scopes:
    model = build(scope, CONFIGS[scope], init_cfg)
    model.init_weights()
    own = model.backbone.state_dict()
    assert len(own) == len(weights) - 2  # all but the classifier's
    for key, value in own.items():
        assert torch.equal(value, weights[f'backbone.{key}']), (scope, key)
assert 'mmst' not in sys.modules
