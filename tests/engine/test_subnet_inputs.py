"""Subnets' inputs: Table 1's transforms, and what the released code does."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import nn
from torchvision.transforms import ColorJitter

from mmst.engine.batch import PassBatches
from mmst.engine.step import st_step
from mmst.subnets import Subnet, SubnetInputs, pad_inputs
from mmst.targets import SampleHandler, register_handler
from tests.conftest import batch, build_classifier, sgd
from tests.targets.snapshot import assert_same

FULL = (3, 3, 3)
MEAN, STD = 127.5, 64.0


def seen_inputs(subnets, *options):
    """What the network saw in each pass of one iteration."""
    model = build_classifier()
    seen = []
    model.backbone.register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    inputs = SubnetInputs(*options)
    st_step(model, batch(), sgd(model), subnets, subnet_inputs=inputs)
    return seen


def resize(images, size):
    return F.interpolate(images, (size, size), mode='bilinear')


def at(size):
    return Subnet.ordered(FULL, FULL, size)


def test_each_subnet_is_resized_from_the_main_input():
    main, first, second = seen_inputs([at(8), at(12)])
    torch.testing.assert_close(main, (batch()['inputs'] - MEAN) / STD)
    assert torch.equal(first, resize(main, 8))
    assert torch.equal(second, resize(main, 12))


def test_what_is_large_enough_is_not_copied():
    images = torch.rand(1, 3, 8, 12)
    assert pad_inputs(images, 4) is images
    assert pad_inputs(images, 16).shape == (1, 3, 16, 16)


def test_crop_keeps_the_size_and_flip_mirrors():
    main, crop = seen_inputs([at(None)], ['crop'])
    assert crop.shape == main.shape and not torch.allclose(crop, main)
    mirrored = set()
    for seed in range(8):
        torch.manual_seed(seed)
        main, flip = seen_inputs([at(None)], ['flip'])
        assert torch.equal(flip, main) or torch.equal(flip, main.flip(-1))
        mirrored.add(torch.equal(flip, main))
    assert mirrored == {True, False}


@pytest.mark.parametrize(
    'name, mean, std', [('jitter', MEAN, STD), ('jitter_normalized', 0, 255)]
)
def test_jitter(name, mean, std):
    """Pixels are jittered; as released, normalised images taken for pixels."""
    images = (batch()['inputs'] - MEAN) / STD
    torch.manual_seed(3)
    given = map(torch.tensor, (MEAN, STD))
    jitter = SubnetInputs([name])(images, None, *given)
    torch.manual_seed(3)
    color = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)
    pixels = color((images * std + mean) / 255)
    torch.testing.assert_close(jitter, (pixels * 255 - mean) / std)


def at_size(data, size, *transforms):
    model = nn.Module()
    model.data_preprocessor = nn.Module()
    return PassBatches(data, SubnetInputs(transforms), model).make(at(size))


class Boxes:
    """A sample that knows the shape of its image."""

    def __init__(self, shape):
        self.shape = shape


def test_samples_are_resized_with_their_images():
    sample = Boxes((8, 12))
    data = torch.zeros(1, 3, 8, 12), [sample]
    with pytest.raises(TypeError, match='Boxes has no handler'):
        at_size(data, 4)

    @register_handler(f'{__name__}.Boxes')
    class BoxesHandler(SampleHandler):
        def resize(self, sample, resizing):
            assert sample.shape == resizing.main_shape
            return Boxes(resizing.resized_shape)

        def copy(self, sample):
            return sample

    images, (small,) = at_size(data, 4)
    assert images.shape == (1, 3, 4, 6) and small.shape == (4, 6)
    images, samples = at_size(data, None)
    assert images.shape == (1, 3, 8, 12)
    assert samples == [sample] and sample.shape == (8, 12)


@pytest.mark.parametrize(
    'data',
    [
        dict(inputs=[torch.zeros(3, 8, 8)]),
        dict(inputs=torch.zeros(3, 8, 8)),
        dict(
            inputs=dict(sup=torch.zeros(1, 3, 8, 8)), data_samples=dict(sup=[])
        ),
        dict(points=torch.zeros(1, 3)),
        [torch.zeros(3, 8, 8)],
        torch.zeros(3, 8, 8),
    ],
)
def test_inputs_that_are_no_batch_of_images(data):
    assert_same(at_size(data, None), data)
    with pytest.raises(TypeError, match=r'no \(N, C, H, W\) tensor as `inp'):
        at_size(data, 4)


@pytest.mark.parametrize('form', [dict, list])
def test_batches_of_any_form(form):
    """Labels as tensors stay, other entries need a rule, none is added."""
    images, labels = torch.rand(2, 3, 8, 8), torch.arange(2)
    data = dict(inputs=images, target=labels, name='a')
    other, word = dict(inputs=images, corners=images[0]), 'corners'
    if form is list:
        data = [*data.values()]
        other, word = [images, labels, torch.rand(2, 2)], 'entry 2'
    small = at_size(data, 4)
    assert type(small) is form
    if form is dict:
        assert list(small) == list(data)
        small = list(small.values())
    assert small[0].shape == (2, 3, 4, 4)
    assert small[1] is labels and small[2] == 'a'
    with pytest.raises(TypeError, match=f'how `{word}` of the batch'):
        at_size(other, 4)
    assert_same(at_size(other, None), other)


def test_loop_hands_them_on(tiny_runner):
    loop = dict(type='mmst.STEpochBasedTrainLoop', max_epochs=1)
    loop.update(input_transforms=['normalize'], chain_inputs=True)
    runner = tiny_runner(sampler=dict(num_subnets=1), train_cfg=loop)
    seen = []
    runner.model.backbone.register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    runner.train()
    # Neither the cost's one image nor the trial before the first step.
    passes = [x for x in seen if len(x) == 4][-6:]
    for main, subnet in zip(passes[::2], passes[1::2]):
        torch.testing.assert_close(
            subnet, (main - MEAN / 255) / (STD / 255), rtol=1e-4, atol=1e-4
        )
    assert len(passes) == 6


@pytest.mark.parametrize('moved', ['crop', 'flip'])
def test_moving_pixels_is_for_classification(moved):
    """Samples of an unknown type may say where things are."""
    images = torch.zeros(1, 3, 8, 8)
    data = dict(inputs=images, data_samples=[BaseDataElement()])
    told = f'{moved}.*of BaseDataElement.*classification only'
    with pytest.raises(ValueError, match=told):
        at_size(data, None, moved)
