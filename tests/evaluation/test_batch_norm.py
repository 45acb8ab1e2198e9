"""BatchNorm statistics against a plain computation over all images."""

from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmpretrain.models import ClsDataPreprocessor
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import nn
from torch.testing import assert_close

from mmst.evaluation import reestimate_statistics
from tests.conftest import batch, build_classifier


def loader(*sizes):
    data, start = batch(sum(sizes)), 0
    for size in sizes:
        yield {k: value[start : start + size] for k, value in data.items()}
        start += size


def save(model):
    return deepcopy(model.state_dict())


def check_unchanged(model, before):
    assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    'sizes, num_samples, seen',
    [((7, 4, 1), 2000, 12), ((4, 4, 4), 5, 8), ((4, 4, 4), 8, 8)],
)
def test_batches_count_by_their_samples_until_there_are_enough(
    sizes, num_samples, seen
):
    model = build_classifier()
    x = model.backbone.conv1((batch(12)['inputs'][:seen] - 127.5) / 64)
    norm = model.backbone.norm1
    with reestimate_statistics(model, loader(*sizes), num_samples):
        assert_close(norm.running_mean, x.mean((0, 2, 3)))
        assert_close(norm.running_var, x.var((0, 2, 3)), rtol=2e-3, atol=0)


class OneNorm(BaseModel):
    """A norm of the input alone, behind any preprocessor."""

    def __init__(self, preprocessor):
        super().__init__(preprocessor)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.norm(inputs)


@pytest.mark.parametrize(
    'preprocessor',
    [
        SegDataPreProcessor(size=(8, 8), pad_val=0),
        DetDataPreprocessor(
            pad_size_divisor=8,
            batch_augments=[dict(type='BatchFixedSizePad', size=(16, 16))],
        ),
        ClsDataPreprocessor(
            batch_augments=dict(augments=dict(type='Mixup', alpha=1.0))
        ),
    ],
)
def test_images_of_several_sizes(preprocessor):
    """Padded to one size as in training; mmseg does so there only.

    They are not augmented as a batch.
    """
    augments = getattr(preprocessor, 'batch_augments', None)
    images = [1 + torch.rand(3, 8, 8), 1 + torch.rand(3, 4, 8)]
    padded = torch.cat([images[1], torch.zeros(3, 4, 8)], 1)
    expected = torch.stack([images[0], padded]).double()
    data = dict(inputs=images, data_samples=[SegDataSample(), SegDataSample()])
    for sample, image in zip(data['data_samples'], images):
        sample.set_metainfo(dict(img_shape=image.shape[1:]))
    model = OneNorm(preprocessor)
    with reestimate_statistics(model, [data]):
        mean, var = model.norm.running_mean, model.norm.running_var
        assert_close(mean.double(), expected.mean((0, 2, 3)))
        assert_close(var.double(), expected.var((0, 2, 3)))
    assert getattr(preprocessor, 'batch_augments', None) is augments


@pytest.mark.parametrize('error', [None, KeyError])
@pytest.mark.parametrize('mode', [True, False])
def test_own_statistics_and_modes_come_back(error, mode):
    model = build_classifier()
    model.backbone.frozen_stages = 1
    model.train(mode)
    model.backbone.layer2.train(not mode)
    before = save(model)
    modes = {n: m.training for n, m in model.named_modules()}
    expected = pytest.raises(error) if error else nullcontext()
    with expected, reestimate_statistics(model, loader(6)):
        assert modes == {n: m.training for n, m in model.named_modules()}
        for stage, is_frozen in ((1, True), (2, False)):
            name = f'backbone.layer{stage}.0.bn1.running_mean'
            now = model.state_dict()[name]
            assert torch.equal(now, before[name]) is is_frozen
        if error:
            raise error
    check_unchanged(model, before)
    assert modes == {n: m.training for n, m in model.named_modules()}
    assert model.backbone.norm1.momentum == 0.1


@pytest.mark.parametrize(
    'num_samples, message', [(9, 'loader is empty'), (0, 'num_samples 0')]
)
def test_no_sample_is_refused(num_samples, message):
    model = build_classifier()
    before = save(model)
    with pytest.raises(ValueError, match=message):
        with reestimate_statistics(model, [], num_samples):
            pass
    check_unchanged(model, before)


@pytest.mark.parametrize('norm', ['GN', 'frozen BN'])
def test_without_statistics_to_estimate_no_data_is_read(norm):
    """Frozen backbones of detectors have no others."""
    model = build_classifier(norm=norm.split()[-1])
    model.backbone.norm_eval = 'frozen' in norm
    before, left = save(model), loader(4, 4)
    with reestimate_statistics(model, left):
        check_unchanged(model, before)
    assert len(list(left)) == 2


class OwnNorm(nn.Module):
    """A norm layer of no class of PyTorch's, as mmcv has them for GPUs."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))
        self.momentum = 0.1

    def forward(self, x):
        own = self.running_mean, self.running_var, None, None
        return nn.functional.batch_norm(x, *own, self.training, self.momentum)


class OwnModel(BaseModel):
    """Other layers: not called, or shared by levels as in detectors."""

    def __init__(self):
        super().__init__(BaseDataPreprocessor())
        self.norm = OwnNorm(3)
        self.instance = nn.InstanceNorm2d(3, track_running_stats=True)
        self.shared = nn.BatchNorm2d(3, momentum=0.2)
        self.auxiliary = nn.BatchNorm2d(3)
        self.auxiliary.running_mean.fill_(0.3)
        self.double()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'loss':
            return self.auxiliary(inputs)
        self.instance(inputs)
        self.norm(inputs)
        return list(map(self.shared, make_levels(inputs)))


def make_levels(inputs):
    """The second level is smaller and of two images only."""
    return inputs, 3 * inputs[:2, :, ::4, ::4]


def test_other_layers_and_such_as_do_not_run_or_run_twice():
    model = OwnModel()
    before = save(model)
    batches = list(loader(5, 3))
    images = batch(8)['inputs']
    calls = [call for data in batches for call in make_levels(data['inputs'])]
    weights = torch.tensor([float(len(call)) for call in calls]).double()
    weights /= weights.sum()
    means = torch.stack([call.mean((0, 2, 3)) for call in calls])
    squares = means**2 + torch.stack([call.var((0, 2, 3)) for call in calls])
    with reestimate_statistics(model, batches):
        mean = images.mean((0, 2, 3))
        assert_close(model.norm.running_mean, mean)
        assert_close(
            model.norm.running_var, images.var((0, 2, 3)), rtol=3e-3, atol=0
        )
        assert_close(model.instance.running_mean, mean)
        assert_close(model.shared.running_mean, weights @ means)
        assert_close(
            model.shared.running_var,
            weights @ squares - (weights @ means) ** 2,
        )
        for key in ('auxiliary.running_mean', 'auxiliary.running_var'):
            assert torch.equal(model.state_dict()[key], before[key])
    check_unchanged(model, before)
    assert model.instance.momentum == 0.1 and model.shared.momentum == 0.2
    assert not model.shared._forward_hooks
