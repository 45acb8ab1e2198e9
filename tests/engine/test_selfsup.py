"""Self-supervised models of mmpretrain, each by its smallest member."""

import copy
import re

import mmpretrain.models.selfsup as selfsup
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmst.engine.report import describe_space
from mmst.engine.step import st_step
from mmst.subnets import (
    Subnet,
    SubnetSampler,
    activate,
    find_stages,
    measure_cost,
    predict_iteration_cost,
)
from tests.conftest import ROOT, Steps, classifier, sgd

from .test_checks import check

RESNET = classifier()['backbone']
ARCH = dict(embed_dims=8, num_layers=4, num_heads=2, feedforward_channels=16)
VIT = dict(arch=ARCH, img_size=16, patch_size=4)
NECK = dict(
    type='NonLinearNeck', in_channels=16, hid_channels=8, out_channels=8
)
ENTROPY = dict(type='CrossEntropyLoss')
PREPROCESSOR = dict(
    type='SelfSupDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3
)


@MODELS.register_module()
class NoClip(nn.Module):
    """Targets and attention in place of CLIP's, whose weights are far."""

    def forward(self, images):
        n = len(images)
        return torch.ones(n, 17, 8), torch.rand(n, 17, 17)


def make(neck, head, backbone=RESNET, **options):
    parts = dict(backbone=backbone, neck=neck, head=head)
    return dict(data_preprocessor=PREPROCESSOR, **parts, **options)


def mae():
    """The demo's MAE with four narrow layers, for images of 16 px."""
    model = Config.fromfile(ROOT / 'configs/demo/vit_mae_mnistm5k.py').model
    model.backbone.update(arch=ARCH, img_size=16, mask_ratio=0.5)
    model.neck.update(
        num_patches=16,
        embed_dim=8,
        decoder_embed_dim=8,
        decoder_depth=1,
        decoder_num_heads=2,
    )
    return dict(model.to_dict(), data_preprocessor=PREPROCESSOR)


def like_mae(backbone, **options):
    model = mae()
    backbone = dict(model['backbone'], **backbone)
    return dict(model, backbone=backbone, **options)


CONTRASTIVE = dict(type='ContrastiveHead', loss=ENTROPY)
PREDICTIVE = dict(
    type='LatentPredictHead',
    loss=dict(type='CosineSimilarityLoss'),
    predictor=dict(NECK, in_channels=8, with_avg_pool=False),
)
QUEUE = dict(queue_len=8, feat_dim=8)
DECODER = dict(mae()['neck'], predict_feature_dim=8)
TOWARDS_CLIP = dict(
    head=dict(type='MIMHead', loss=dict(type='CosineSimilarityLoss')),
    target_generator=dict(type='NoClip'),
)


def pixel_loss(criterion, **options):
    return dict(type='PixelReconstructionLoss', criterion=criterion, **options)


# Trained from views of an image.
VIEWS = dict(
    BarlowTwins=make(
        NECK,
        dict(
            type='LatentCrossCorrelationHead',
            in_channels=8,
            loss=dict(type='CrossCorrelationLoss'),
        ),
    ),
    SimCLR=make(NECK, CONTRASTIVE),
    SimSiam=make(NECK, PREDICTIVE),
    SwAV=make(
        dict(NECK, type='SwAVNeck'),
        dict(
            type='SwAVHead',
            loss=dict(type='SwAVLoss', feat_dim=8, num_prototypes=5),
        ),
    ),
)
# Refused, as each pass would move their copy on.
MOMENTUM = dict(
    BYOL=make(NECK, PREDICTIVE),
    MoCo=make(dict(NECK, type='MoCoV2Neck'), CONTRASTIVE, **QUEUE),
    DenseCL=make(
        dict(NECK, type='DenseCLNeck', num_grid=None), CONTRASTIVE, **QUEUE
    ),
    MoCoV3=make(NECK, dict(PREDICTIVE, type='MoCoV3Head', loss=ENTROPY)),
)
# Trained from masked images.
MASKED = dict(
    MAE=mae(),
    MFF=like_mae(dict(type='MFFViT', out_indices=[0, 1, 3])),
    EVA=like_mae(dict(type='MAEViT'), neck=DECODER, **TOWARDS_CLIP),
    MILAN=like_mae(
        dict(type='MILANViT'),
        neck=dict(DECODER, type='MILANPretrainDecoder'),
        **TOWARDS_CLIP,
    ),
    MaskFeat=make(
        dict(
            type='LinearNeck', in_channels=8, out_channels=108, norm_cfg=None
        ),
        dict(type='MIMHead', loss=pixel_loss('L2')),
        dict(type='MaskFeatViT', arch=ARCH, img_size=224, patch_size=16),
        target_generator=dict(
            type='HOGGenerator', nbins=9, pool=8, gaussian_window=16
        ),
    ),
    SimMIM=make(
        dict(type='SimMIMLinearDecoder', in_channels=64, encoder_stride=32),
        dict(
            type='SimMIMHead', patch_size=4, loss=pixel_loss('L1', channel=3)
        ),
        dict(
            type='SimMIMSwinTransformer',
            arch=dict(embed_dims=8, depths=[2] * 4, num_heads=[1, 1, 2, 2]),
            img_size=64,
            stage_cfgs=dict(block_cfgs=dict(window_size=2)),
        ),
    ),
    SparK=make(
        dict(
            type='SparKLightDecoder',
            feature_dim=32,
            upsample_ratio=32,
            mid_channels=0,
            last_act=False,
            norm_cfg=dict(type='BN'),
        ),
        dict(type='SparKPretrainHead', loss=pixel_loss('L2')),
        dict(
            type='SparseResNet',
            depth=50,
            base_channels=2,
            stem_channels=2,
            out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type='SparseBatchNorm2d'),
        ),
        input_size=64,
        downsample_raito=32,
        mask_ratio=0.5,
        enc_dec_norm_cfg=dict(type='SparseBatchNorm2d'),
        enc_dec_norm_dim=64,
    ),
)
# Refused, as nothing finds the stages of these backbones.
NO_STAGES = dict(
    BEiT=dict(VIT, type='BEiTPretrainViT', out_type='raw'),
    CAE=dict(VIT, type='CAEPretrainViT', layer_scale_init_value=0.1),
    MixMIM=dict(
        type='MixMIMPretrainTransformer',
        arch=dict(embed_dims=8, depths=[1] * 4, num_heads=[1] * 4),
    ),
    iTPN=dict(
        type='iTPNHiViT',
        arch=dict(embed_dims=8, depths=[1, 1, 2], num_heads=1),
    ),
)
SIDE = dict(MaskFeat=224, SimMIM=64, SparK=64)
TRAINED = {**VIEWS, **MASKED}


def make_batch(name):
    side = SIDE.get(name, 16 if name in MASKED else 32)
    images = torch.randint(256, (4, 3, side, side)).float()
    samples = []
    for _ in images:
        cells = dict(MaskFeat=14, SimMIM=16).get(name, 4)
        mask = torch.rand(cells, cells) < 0.5
        mask[0, 0], mask[1, 1] = True, False
        samples.append(DataSample().set_mask(mask))
    if name in VIEWS:
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
    assert there == {*TRAINED, *MOMENTUM, *NO_STAGES}


@pytest.mark.parametrize('name', TRAINED)
def test_a_pass_leaves_all_but_gradients(name):
    model = MODELS.build(dict(TRAINED[name], type=name))
    model.init_weights()
    model.train()
    stages = find_stages(model)
    subnet = Subnet.ordered([1] * len(stages), [len(s) for s in stages])
    batch = make_batch(name)

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


@pytest.mark.parametrize('name', MOMENTUM)
def test_momentum_copies_are_refused(name):
    """Contract 13: each pass would move the copy and its queue on."""
    model = MODELS.build(dict(MOMENTUM[name], type=name))
    with pytest.raises(ValueError, match=f'{name} updates its momentum copy'):
        check(model)


@pytest.mark.parametrize('name', NO_STAGES)
def test_unknown_stages_are_refused(name):
    with pytest.raises(TypeError, match='no residual stages'):
        find_stages(MODELS.build(NO_STAGES[name]))


def test_page_has_each_with_its_outcome():
    text = (ROOT / 'configs/st_selfsup/README.md').read_text()
    rows = re.findall(r'^\| ([^|]+) \| (work|refused)', text, re.M)
    words = {name: word for names, word in rows for name in names.split(', ')}
    assert words.keys() >= {*TRAINED, *MOMENTUM, *NO_STAGES}
    assert {name for name in words if words[name] == 'work'} == {*TRAINED}


@pytest.fixture
def model():
    """MAE, in float64 and in training mode."""
    model = MODELS.build(mae())
    model.init_weights()
    model.train()
    return model.double()


def loss_by_hand(model, batch, depth):
    """The loss of the first layers, with a mask of its own."""
    layers = model.backbone.layers
    model.backbone.layers = layers[:depth]
    data = model.data_preprocessor(batch, True)
    losses = model._run_forward(data, mode='loss')
    model.backbone.layers = layers
    return model.parse_losses(losses)[0]


def test_gradient_is_that_of_the_summed_loss(model):
    """Contract 2; each pass draws a mask of its own."""
    depths = (4, 3, 1)
    batch = make_batch('MAE')
    batch['inputs'] = batch['inputs'].double()
    torch.manual_seed(7)
    expected = [loss_by_hand(model, batch, depth) for depth in depths]
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(sum(expected), trained.values())
    optim_wrapper = sgd(model)
    steps = Steps(optim_wrapper.optimizer, model)
    torch.manual_seed(7)
    subnets = [Subnet.ordered((depth,), (4,)) for depth in depths[1:]]
    log = st_step(model, batch, optim_wrapper, subnets)
    names = 'main_loss', 'subnet0_loss', 'subnet1_loss'
    torch.testing.assert_close(
        [*steps.gradients, [log[name] for name in names]],
        [dict(zip(trained, gradients)), [loss.detach() for loss in expected]],
        rtol=1e-10,
        atol=1e-12,
    )


SAMPLER = dict(num_subnets=2, min_depth=2)


def test_cost_counts_passes_apart(model):
    """Each has a mask of its own, and so nothing in common."""
    image = torch.zeros(1, 3, 16, 16).double()
    cost = measure_cost(model, image)
    sampler = SubnetSampler(**SAMPLER).fit(model)
    drawn = sum((sampler.draw(i) for i in range(400)), [])
    expected = 1 + 2 * sum(map(cost.count, drawn)) / len(drawn) / cost.total
    assert predict_iteration_cost(model, image, sampler) == pytest.approx(
        expected, rel=0.02
    )
    text = describe_space(model, image, sampler)
    assert 'each pass runs by itself: the backbone is random' in text


def test_other_sizes_are_refused_before_training(tiny_runner):
    """Contract 10: MAE's position embedding is for one size."""
    runner = tiny_runner(model=mae(), sampler=dict(SAMPLER, sizes=[8]))
    with pytest.raises(ValueError, match='8 px'):
        runner.train()
    assert runner.iter == 0
