"""The ST iteration with ground truth, the same checks for every dense task."""

import copy

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope

from mmst.engine.batch import PassBatches
from mmst.engine.step import st_step
from mmst.subnets import PassRunner, Subnet, SubnetInputs
from tests.conftest import Steps, sgd
from tests.engine.dense_tasks import (
    TASKS,
    TinyScenes,
    model_cfg,
    runner_options,
)
from tests.subnets.passes_apart import count_calls, cut
from tests.targets.snapshot import assert_same, snapshot

FULL = (2, 2, 2, 2)
# Depths and sizes: pixels, a fraction, and the main input's own.
SUBNETS = [
    Subnet.ordered((2, 1, 1, 2), FULL, 55),
    Subnet.ordered((1, 2, 1, 1), FULL, 0.7),
    Subnet.ordered((2, 2, 1, 1), FULL),
]


@pytest.fixture
def task(request):
    toolbox = TASKS[request.param][0]
    pytest.importorskip(toolbox)
    init_default_scope(toolbox)
    return request.param


SLOW = pytest.mark.slow


def on(*tasks):
    """Run a test on these tasks, and on the others with the slow tests."""
    return pytest.mark.parametrize(
        'task',
        [
            pytest.param(task, marks=[] if task in tasks else pytest.mark.slow)
            for task in TASKS
        ],
        indirect=True,
    )


# Stages with and without gradients, batch statistics, checkpointing.
BACKBONES = dict(
    frozen=dict(),  # frozen_stages=1, norm_eval=True
    trained=dict(frozen_stages=-1, norm_eval=False),
    checkpointed=dict(frozen_stages=-1, norm_eval=False, with_cp=True),
)


def on_backbones(shift):
    """Run a test on each task, by default with one of the backbones each."""
    return pytest.mark.parametrize(
        'task, backbone',
        [
            pytest.param(
                task, name, marks=[] if (i + shift - j) % 3 == 0 else SLOW
            )
            for i, task in enumerate(TASKS)
            for j, name in enumerate(BACKBONES)
        ],
        indirect=['task'],
    )


def build(task, **backbone):
    """The task's model in training mode; each of its passes is seeded.

    After the backbone: heads sample at random, and have dropout.
    """
    torch.manual_seed(0)
    model = MODELS.build(model_cfg(task, **backbone))
    model.init_weights()
    model.train()
    model.backbone.register_forward_hook(lambda *_: seed(1))
    return model


def seed(value):
    torch.manual_seed(value)
    np.random.seed(value)


def batch(task):
    """Two scenes of different sizes, from the toolbox's own pipeline."""
    scenes = TinyScenes(task)
    seed(0)
    return pseudo_collate([scenes[0], scenes[1]])


def gradients(model, data):
    """Loss and gradients of one pass, by mmengine alone."""
    model.zero_grad()
    loss, _ = model.parse_losses(
        model._run_forward(copy.deepcopy(data), mode='loss')
    )
    loss.backward()
    return loss.detach(), {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@on_backbones(0)
def test_gradient_is_the_sum_of_the_losses_apart(task, backbone):
    """To 1e-5 of the largest gradient in each parameter, in float32."""
    model = build(task, **BACKBONES[backbone])
    data = model.data_preprocessor(batch(task), True)
    main = copy.deepcopy(model)
    passes = [gradients(main, data)]
    passes += [
        gradients(
            cut(model, subnet),
            PassBatches(data, SubnetInputs(), model).make(subnet),
        )
        for subnet in SUBNETS
    ]
    optim_wrapper = sgd(model, lr=0.0)
    steps = Steps(optim_wrapper.optimizer, model)

    log = st_step(model, batch(task), optim_wrapper, SUBNETS)

    (seen,) = steps.gradients
    for name, (loss, _) in zip(
        ['main_loss'] + [f'subnet{k}_loss' for k in range(3)], passes
    ):
        assert torch.isfinite(loss) and loss > 0
        torch.testing.assert_close(log[name], loss, rtol=1e-6, atol=0)
    frozen = ('backbone.conv1.', 'backbone.stem.', 'backbone.layer1.')
    for name, _ in model.named_parameters():
        parts = [grads[name] for _, grads in passes if name in grads]
        assert (name in seen) == bool(parts), name
        if backbone == 'frozen' and name.startswith(frozen):
            assert not parts, name
        if parts:
            expected = sum(parts)
            torch.testing.assert_close(
                seen[name],
                expected,
                rtol=0,
                atol=1e-5 * float(expected.abs().max()) + 1e-12,
            )
    # Only the main pass has touched running statistics.
    for (name, one), other in zip(model.named_buffers(), main.buffers()):
        assert torch.equal(one, other), name


@on_backbones(1)
def test_shared_prefixes_are_exact(task, backbone):
    """Losses, gradients, running statistics (contract 11).

    To 1e-10 in backbone and neck, in float64; heads are for float32 only.
    """
    subnets = [
        Subnet.ordered(depths, FULL, size)
        for depths, size in [
            ((2, 1, 1, 2), 55),
            ((2, 2, 1, 1), None),
            ((2, 1, 2, 1), 55),
            ((2, 2, 2, 1), 1.0),
            ((2, 1, 1, 1), 55),
        ]
    ]
    results = []
    for share in (True, False):
        model = build(task, **BACKBONES[backbone])
        in_double(model)
        data = batch(task)
        optim_wrapper = sgd(model, lr=0.0)
        steps = Steps(optim_wrapper.optimizer, model)
        net = model.backbone
        counts = count_calls([net.layer1[0].conv1, net.layer4[0].conv1])
        runner = PassRunner(model, share=share)
        log = st_step(model, data, optim_wrapper, subnets, runner)
        runs = [2, 4] if share else [6, 6]  # of two sizes, and their trees
        if backbone == 'checkpointed':
            runs = [2 * n for n in runs]
        assert list(counts.values()) == runs
        results.append((log, steps.gradients[0], dict(model.named_buffers())))
    (log, gradients, buffers), (*expected,) = results
    for ours, theirs in zip((log, gradients, buffers), expected):
        assert list(ours) == list(theirs)
        largest = max(float(value.abs().max()) for value in theirs.values())
        for name, value in theirs.items():
            exact = value.dtype is torch.float64 or name.endswith('loss')
            error = (ours[name] - value).abs().max()
            assert error <= (1e-10 if exact else 1e-5) * largest, name


def in_double(model):
    """Let backbone and neck run in float64, the head in float32."""
    parts = [model.backbone, *([model.neck] if model.with_neck else [])]
    for part in parts:
        part.double()
    parts[0].register_forward_pre_hook(lambda module, args: args[0].double())
    parts[-1].register_forward_hook(
        lambda module, args, out: tuple(feature.float() for feature in out)
    )


@on('one_stage_masks', 'segmentation', 'pose')
def test_samples_stay_as_they_came(task):
    """What passes write stays with them, the main network's included."""
    model = build(task)
    kept, given = [], []
    model.data_preprocessor.register_forward_hook(
        lambda m, a, out: kept.extend([out, snapshot(out['data_samples'])])
    )

    def write(module, args, kwargs, output):
        for sample in kwargs['data_samples']:
            given.append(sample)
            part = sample.get('gt_instances', sample.get('gt_sem_seg'))
            for name in part.keys():
                delattr(part, name)
            sample.set_metainfo(dict(img_shape=None))

    log = st_step(model, batch(task), sgd(model, lr=0.0), SUBNETS)
    before = snapshot(kept[0]['data_samples'])
    assert_same(before, kept[1])

    model.register_forward_hook(write, with_kwargs=True)
    again = st_step(model, batch(task), sgd(model, lr=0.0), SUBNETS)
    assert len(given) == 8 and len({id(sample) for sample in given}) == 8
    assert_same(snapshot(kept[2]['data_samples']), kept[1])
    assert_same(snapshot(again), snapshot(log))


@pytest.mark.parametrize('task', ['two_stage', 'one_stage'], indirect=True)
def test_subnet_that_sees_no_instance(task):
    """All boxes of an image, then of the batch, shrink under a pixel."""
    model = build(task)
    data = batch(task)
    for count in (1, 2):
        for sample in data['data_samples'][:count]:
            boxes = sample.gt_instances.bboxes.tensor
            boxes[:, 2:] = boxes[:, :2] + 1.5
        log = st_step(model, data, sgd(model), SUBNETS[:1])
        assert torch.isfinite(log['subnet0_loss'])


@on('panoptic', 'segmentation', 'pose')
def test_whole_run(task, tiny_runner):
    """Rehearsed, and trained with subnets of other sizes."""
    runner = tiny_runner(
        sampler=dict(num_subnets=2, size_range=(0.5, 1.0)),
        **runner_options(task),
    )
    runner.train()
    for name in ('main_loss', 'subnet0_loss', 'subnet1_loss'):
        losses, _ = runner.message_hub.get_scalar(f'train/{name}').data
        assert len(losses) == 2 and (losses > 0).all()
