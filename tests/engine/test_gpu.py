"""The ST iteration on a GPU."""

import os

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper
from torch import distributed

from mmst.engine import st_step
from mmst.subnets import SubnetSampler
from tests.conftest import batch, build_classifier, sgd

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason='no GPU on this machine'
    ),
]


def draw(model, number=3):
    sampler = SubnetSampler(number, size_range=(0.5, 1.0), num_sizes=1)
    return sampler.fit(model).draw(0)


def test_amp_optim_wrapper():
    model = build_classifier(double=False).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = AmpOptimWrapper(optimizer=optimizer, loss_scale=2.0**8)
    before = model.head.fc.weight.clone()
    log = st_step(model, batch(double=False), wrapper, draw(model))
    assert torch.isfinite(log['loss'])
    assert not torch.equal(model.head.fc.weight, before)


def test_one_process_with_nccl():
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='29517')
    distributed.init_process_group('nccl', rank=0, world_size=1)
    try:
        model, alone = (build_classifier(double=False).cuda() for _ in '12')
        alone.load_state_dict(model.state_dict())
        wrapped = MMDistributedDataParallel(model, device_ids=[0])
        data = batch(double=False)
        st_step(wrapped, data, sgd(wrapped), draw(alone))
        st_step(alone, data, sgd(alone), draw(alone))
        for one, two in zip(model.parameters(), alone.parameters()):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    finally:
        distributed.destroy_process_group()
