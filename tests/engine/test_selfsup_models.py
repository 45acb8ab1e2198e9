"""Each of mmpretrain's self-supervised models, its smallest member."""

import copy
import re
from types import SimpleNamespace

import mmpretrain.models.selfsup as selfsup
import pytest
import torch
from mmpretrain.engine.hooks import SwAVHook
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmst.engine.checks import _check_hook
from mmst.engine.step import st_step
from mmst.subnets import Subnet, activate, find_stages
from tests.conftest import ROOT, sgd

from .test_selfsup import mae

NORM = dict(type='SelfSupDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3)
RESNET = dict(
    type='mmst.CIFARResNet',
    depth=20,
    stem_channels=4,
    base_channels=4,
    zero_init_residual=False,
)
ARCH = dict(embed_dims=8, num_layers=4, num_heads=2, feedforward_channels=16)
VIT = dict(arch=ARCH, img_size=16, patch_size=4)
NECK = dict(
    type='NonLinearNeck', in_channels=16, hid_channels=8, out_channels=8
)
PREDICTOR = dict(NECK, in_channels=8, with_avg_pool=False)
COSINE = dict(type='CosineSimilarityLoss')
ENTROPY = dict(type='CrossEntropyLoss')


@MODELS.register_module()
class NoClip(nn.Module):
    """Targets and attention in place of CLIP's, whose weights are far."""

    def forward(self, images):
        n = len(images)
        return torch.ones(n, 17, 8), torch.rand(n, 17, 17)


def of_views(kind, neck, head, **options):
    return dict(type=kind, backbone=RESNET, neck=neck, head=head, **options)


def like_mae(kind, backbone, **options):
    model = mae()
    model['backbone'] = dict(model['backbone'], **backbone)
    return dict(model, type=kind, **options)


DECODER = dict(mae()['neck'], predict_feature_dim=8)
#: Model and outcome: 'views' and 'masked' ones train, 'momentum' and
#: 'stages' tell why they are refused.
MODEL = {
    'BarlowTwins': (
        'views',
        of_views(
            'BarlowTwins',
            NECK,
            dict(
                type='LatentCrossCorrelationHead',
                in_channels=8,
                loss=dict(type='CrossCorrelationLoss'),
            ),
        ),
    ),
    'SimCLR': (
        'views',
        of_views('SimCLR', NECK, dict(type='ContrastiveHead', loss=ENTROPY)),
    ),
    'SimSiam': (
        'views',
        of_views(
            'SimSiam',
            NECK,
            dict(type='LatentPredictHead', loss=COSINE, predictor=PREDICTOR),
        ),
    ),
    'SwAV': (
        'views',
        of_views(
            'SwAV',
            dict(NECK, type='SwAVNeck'),
            dict(
                type='SwAVHead',
                loss=dict(type='SwAVLoss', feat_dim=8, num_prototypes=5),
            ),
        ),
    ),
    'BYOL': (
        'momentum',
        of_views(
            'BYOL',
            NECK,
            dict(type='LatentPredictHead', loss=COSINE, predictor=PREDICTOR),
        ),
    ),
    'MoCo': (
        'momentum',
        of_views(
            'MoCo',
            dict(NECK, type='MoCoV2Neck'),
            dict(type='ContrastiveHead', loss=ENTROPY),
            queue_len=8,
            feat_dim=8,
        ),
    ),
    'DenseCL': (
        'momentum',
        of_views(
            'DenseCL',
            dict(NECK, type='DenseCLNeck', num_grid=None),
            dict(type='ContrastiveHead', loss=ENTROPY),
            queue_len=8,
            feat_dim=8,
        ),
    ),
    'MoCoV3': (
        'momentum',
        of_views(
            'MoCoV3',
            NECK,
            dict(type='MoCoV3Head', loss=ENTROPY, predictor=PREDICTOR),
        ),
    ),
    'MAE': ('masked', mae()),
    'MFF': (
        'masked',
        like_mae('MFF', dict(type='MFFViT', out_indices=[0, 1, 3])),
    ),
    'EVA': (
        'masked',
        like_mae(
            'EVA',
            dict(type='MAEViT'),
            neck=DECODER,
            head=dict(type='MIMHead', loss=COSINE),
            target_generator=dict(type='NoClip'),
        ),
    ),
    'MILAN': (
        'masked',
        like_mae(
            'MILAN',
            dict(type='MILANViT'),
            neck=dict(DECODER, type='MILANPretrainDecoder'),
            head=dict(type='MIMHead', loss=COSINE),
            target_generator=dict(type='NoClip'),
        ),
    ),
    'MaskFeat': (
        'masked',
        dict(
            type='MaskFeat',
            data_preprocessor=NORM,
            backbone=dict(
                type='MaskFeatViT', arch=ARCH, img_size=224, patch_size=16
            ),
            neck=dict(
                type='LinearNeck',
                in_channels=8,
                out_channels=108,
                norm_cfg=None,
            ),
            head=dict(
                type='MIMHead',
                loss=dict(type='PixelReconstructionLoss', criterion='L2'),
            ),
            target_generator=dict(
                type='HOGGenerator', nbins=9, pool=8, gaussian_window=16
            ),
        ),
    ),
    'SimMIM': (
        'masked',
        dict(
            type='SimMIM',
            data_preprocessor=NORM,
            backbone=dict(
                type='SimMIMSwinTransformer',
                arch=dict(
                    embed_dims=8, depths=[2] * 4, num_heads=[1, 1, 2, 2]
                ),
                img_size=64,
                stage_cfgs=dict(block_cfgs=dict(window_size=2)),
            ),
            neck=dict(
                type='SimMIMLinearDecoder', in_channels=64, encoder_stride=32
            ),
            head=dict(
                type='SimMIMHead',
                patch_size=4,
                loss=dict(
                    type='PixelReconstructionLoss', criterion='L1', channel=3
                ),
            ),
        ),
    ),
    'BEiT': ('stages', dict(VIT, type='BEiTPretrainViT', out_type='raw')),
    'CAE': (
        'stages',
        dict(VIT, type='CAEPretrainViT', layer_scale_init_value=0.1),
    ),
    'MixMIM': ('stages', dict(type='MixMIMPretrainTransformer', arch='B')),
    'SparK': (
        'masked',
        dict(
            type='SparK',
            data_preprocessor=NORM,
            input_size=64,
            downsample_raito=32,
            mask_ratio=0.5,
            enc_dec_norm_cfg=dict(type='SparseBatchNorm2d'),
            enc_dec_norm_dim=64,
            backbone=dict(
                type='SparseResNet',
                depth=50,
                base_channels=2,
                stem_channels=2,
                out_indices=(0, 1, 2, 3),
                norm_cfg=dict(type='SparseBatchNorm2d'),
            ),
            neck=dict(
                type='SparKLightDecoder',
                feature_dim=32,
                upsample_ratio=32,
                mid_channels=0,
                last_act=False,
                norm_cfg=dict(type='BN'),
            ),
            head=dict(
                type='SparKPretrainHead',
                loss=dict(type='PixelReconstructionLoss', criterion='L2'),
            ),
        ),
    ),
    'iTPN': ('stages', dict(type='iTPNHiViT', arch='base')),
}
SIDE = dict(MaskFeat=224, SimMIM=64, SparK=64)
TRAIN = [k for k, (kind, _) in MODEL.items() if kind in ('views', 'masked')]


def make_batch(name, kind):
    side = SIDE.get(name, 16 if kind == 'masked' else 32)
    images = torch.randint(256, (4, 3, side, side)).float()
    samples = []
    for _ in images:
        cells = dict(MaskFeat=14, SimMIM=16).get(name, 4)
        mask = torch.rand(cells, cells) < 0.5
        mask[0, 0], mask[1, 1] = True, False
        samples.append(DataSample().set_mask(mask))
    if kind == 'views':
        return dict(inputs=[images, images.flip(-1)], data_samples=samples)
    return dict(inputs=images, data_samples=samples)


def test_every_model_is_tried():
    there = {
        name
        for name, kind in vars(selfsup).items()
        if isinstance(kind, type)
        and issubclass(kind, BaseSelfSupervisor)
        and kind is not BaseSelfSupervisor
    }
    assert there == set(MODEL)


@pytest.mark.parametrize('name', TRAIN)
def test_a_pass_leaves_all_but_gradients(name):
    kind, config = MODEL[name]
    model = MODELS.build(dict(dict(data_preprocessor=NORM), **config))
    model.init_weights()
    model.train()
    stages = find_stages(model)
    subnet = Subnet.ordered([1] * len(stages), [len(s) for s in stages])
    batch = make_batch(name, kind)

    def run():
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        return model.parse_losses(model._run_forward(data, mode='loss'))[0]

    run()  # SwAV puts its prototypes on the unit sphere
    before = copy.deepcopy(model.state_dict())
    with activate(model, subnet):
        run().backward()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=1e-6, atol=1e-6)
    weights = [copy.deepcopy(p) for p in model.parameters()]
    losses = st_step(model, batch, sgd(model), [subnet])
    assert losses['subnet0_loss'].isfinite() and losses['loss'].isfinite()
    changed = sum(
        not torch.equal(a, b) for a, b in zip(weights, model.parameters())
    )
    assert changed > len(weights) // 2


@pytest.mark.parametrize(
    'name', [k for k, (kind, _) in MODEL.items() if kind == 'momentum']
)
def test_momentum_copies_are_refused(tiny_runner, name):
    model = dict(MODEL[name][1], data_preprocessor=NORM)
    with pytest.raises(ValueError, match=f'{name} updates its momentum copy'):
        tiny_runner(model=model, sampler=dict()).train()


@pytest.mark.parametrize(
    'name', [k for k, (kind, _) in MODEL.items() if kind == 'stages']
)
def test_unknown_stages_are_refused(name):
    with pytest.raises(TypeError, match='no residual stages'):
        find_stages(MODELS.build(MODEL[name][1]))


@pytest.mark.parametrize('length', [0, 8])
def test_queue_of_swav(length):
    """It starts after some epochs, so that its hook has to be asked."""
    hook = SwAVHook(4, 0, [0, 1], 8, length, frozen_layers_cfg={})
    loop = SimpleNamespace(runner=SimpleNamespace(hooks=[hook]))
    if length == 0:
        _check_hook(loop, hook)
        return
    with pytest.raises(ValueError, match='SwAVHook: queue_length=8 .* to 0'):
        _check_hook(loop, hook)


def test_page_has_each_with_its_outcome():
    text = (ROOT / 'configs/st_selfsup/README.md').read_text()
    rows = re.findall(r'^\| ([^|]+) \| (work|refused)', text, re.M)
    outcomes = {
        name: word for names, word in rows for name in names.split(', ')
    }
    for name in MODEL:
        assert outcomes[name] == ('work' if name in TRAIN else 'refused'), name
