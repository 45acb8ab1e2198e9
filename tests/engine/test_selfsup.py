"""Self-supervised models with subnets: the loop and the hook alone."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mmst.engine.report import describe_space
from mmst.engine.step import st_step
from mmst.subnets import (
    Subnet,
    SubnetSampler,
    measure_cost,
    predict_iteration_cost,
)
from tests.conftest import ROOT, Steps, sgd

LAYERS = 4
PREPROCESSOR = dict(
    type='SelfSupDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3
)


def mae() -> dict:
    """The demo's MAE with four narrow layers, for images of 16 px."""
    model = Config.fromfile(ROOT / 'configs/demo/vit_mae_mnistm5k.py').model
    arch = dict(embed_dims=8, num_layers=LAYERS, num_heads=2)
    model.backbone.update(
        arch=dict(arch, feedforward_channels=16), img_size=16, mask_ratio=0.5
    )
    model.neck.update(
        num_patches=16,
        embed_dim=8,
        decoder_embed_dim=8,
        decoder_depth=1,
        decoder_num_heads=2,
    )
    return dict(model.to_dict(), data_preprocessor=PREPROCESSOR)


@pytest.fixture
def model():
    """In float64 and in training mode."""
    model = MODELS.build(mae())
    model.init_weights()
    model.train()
    return model.double()


@pytest.fixture
def batch() -> dict:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (3, 3, 16, 16), generator=generator)
    return dict(inputs=images.double(), data_samples=[None] * 3)


def loss_by_hand(model, inputs, depth):
    """The loss of the first layers, with a mask of its own."""
    net = model.backbone
    images = (inputs - 127.5) / 64
    patches = net.patch_embed(images)[0] + net.pos_embed[:, 1:]
    seen, mask, restore = net.random_masking(patches, net.mask_ratio)
    token = (net.cls_token + net.pos_embed[:, :1]).expand(len(images), -1, -1)
    x = torch.cat([token, seen], dim=1)
    for layer in list(net.layers)[:depth]:
        x = layer(x)
    wanted = model.head.patchify(images)
    mean = wanted.mean(-1, keepdim=True)
    deviation = (wanted.var(-1, keepdim=True) + 1e-6).sqrt()
    error = model.neck(net.norm1(x), restore) - (wanted - mean) / deviation
    return ((error**2).mean(-1) * mask).sum() / mask.sum()


def test_gradient_is_that_of_the_summed_loss(model, batch):
    """Contract 2; each pass draws a mask of its own."""
    depths = (LAYERS, 3, 1)
    torch.manual_seed(7)
    expected = [loss_by_hand(model, batch['inputs'], d) for d in depths]
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(sum(expected), trained.values())
    optim_wrapper = sgd(model)
    steps = Steps(optim_wrapper.optimizer, model)
    torch.manual_seed(7)

    log = st_step(
        model,
        batch,
        optim_wrapper,
        [Subnet.ordered((depth,), (LAYERS,)) for depth in depths[1:]],
    )

    assert len(steps) == 1 and steps.gradients[0].keys() == trained.keys()
    for name, gradient in zip(trained, gradients):
        torch.testing.assert_close(
            steps.gradients[0][name], gradient, rtol=1e-10, atol=1e-12
        )
    logged = [log['main_loss'], log['subnet0_loss'], log['subnet1_loss']]
    torch.testing.assert_close(
        torch.stack(logged), torch.stack(expected), rtol=1e-10, atol=1e-12
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
