"""Settings that alone show to be wrong are refused before training."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpretrain.engine.hooks import SwAVHook
from torch import nn

from mmst.engine import SubnetSamplerHook
from mmst.engine.checks import check_training
from mmst.subnets import SubnetInputs
from tests.conftest import build_classifier, sgd
from tests.engine.test_loops import OwnStep


def check(model=None, wrapper=None, hook=None, chained=False, **sampler):
    """Check a training of a classifier, with some part replaced."""
    model = model or build_classifier()
    sampler_hook = SubnetSamplerHook(**sampler)
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=wrapper or sgd(model),
        hooks=[sampler_hook, *([hook] if hook else [])],
    )
    inputs = SubnetInputs(chained=chained)
    loop = SimpleNamespace(runner=runner, subnet_inputs=inputs)
    check_training(loop, sampler_hook)


class OwnUpdate(OptimWrapper):
    def update_params(self, loss, **kwargs):
        super().update_params(2 * loss, **kwargs)


def optimizer():
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)


def headless():
    model = build_classifier()
    del model.head
    return model


def swav(queue_length):
    """A hook that fills its queue after some epochs only."""
    return SwAVHook(4, 0, [0, 1], 8, queue_length, frozen_layers_cfg={})


@pytest.mark.parametrize(
    'make, message',
    [
        (
            lambda: dict(model=nn.DataParallel(build_classifier())),
            'not with DataParallel: change `model_wrapper_cfg`',
        ),
        (
            lambda: dict(
                wrapper=OptimWrapperDict(all=OptimWrapper(optimizer()))
            ),
            'OptimWrapperDict does not allow',
        ),
        (
            lambda: dict(wrapper=OwnUpdate(optimizer())),
            'OwnUpdate does not .*override `update_params`',
        ),
        (lambda: dict(model=OwnStep()), 'OwnStep overrides train_step'),
        (lambda: dict(model=headless()), 'model.head is NoneType'),
        (lambda: dict(hook=swav(8)), 'SwAVHook: queue_length=8 .* to 0'),
        (lambda: dict(hook=swav(0)), None),
        (
            lambda: dict(chained=True, size_range=(0.5, 1.0)),
            'fractions, which chain_inputs',
        ),
        (lambda: dict(chained=True, size_range=(8, 16)), None),
    ],
)
def test_what_cannot_be_honoured(make, message):
    if message is None:
        check(**make())
        return
    with pytest.raises(ValueError, match=message):
        check(**make())
