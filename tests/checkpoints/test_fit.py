"""How much of a network was loaded is told; nothing at all is refused."""

import re

import pytest
import torch
from mmengine.model import PretrainedInit
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from mmst.checkpoints import read_checkpoint
from mmst.checkpoints.fit import check_fit

from ..conftest import build_classifier, classifier, read_log

BACKBONE = classifier()['backbone']


@pytest.fixture
def source():
    """A pretrained classifier, and its weights as a file has them."""
    torch.manual_seed(1)
    return build_classifier(double=False, st=False).state_dict()


def save(weights: dict, path) -> str:
    torch.save(weights, path)
    return str(path)


def backbone(**init_cfg):
    torch.manual_seed(2)
    return MODELS.build(
        dict(BACKBONE, init_cfg=dict(type='Pretrained', **init_cfg))
    )


def stripped(source: dict) -> dict:
    return {
        key[len('backbone.') :]: value
        for key, value in source.items()
        if key.startswith('backbone.')
    }


@pytest.mark.parametrize('prefix', ['backbone.', 'backbone', None])
@pytest.mark.parametrize('wrap', [False, True])
def test_fitting_weights_are_loaded(source, prefix, wrap, tmp_path):
    weights = source if prefix else stripped(source)
    if wrap:
        weights = dict(state_dict=weights, meta=dict(epoch=1))
    path = save(weights, tmp_path / 'x.pth')
    network = backbone(checkpoint=path, prefix=prefix)
    with check_fit():
        network.init_weights()
    assert_close(network.state_dict(), stripped(source), rtol=0, atol=0)


def test_the_share_is_told(source, tiny_runner, tmp_path):
    """By `init_cfg`, which may leave layers to be trained."""
    key, value = next(iter(stripped(source).items()))
    path = save({f'module.{key}': value}, tmp_path / 'x.pth')
    model = classifier()
    model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    runner = tiny_runner(model=model, sampler=dict())
    sizes = {
        name: tensor.numel()
        for name, tensor in runner.model.backbone.state_dict().items()
        if 'num_batches' not in name
    }
    with check_fit():
        runner._init_model_weights()
    share = 100 * sizes[key] / sum(sizes.values())
    log = read_log(runner)
    assert (
        f'fills 1 of {len(sizes)} tensors of CIFARResNet, {share:.1f} %'
    ) in log


@pytest.mark.parametrize('refusal', [None, 'No.'])
def test_a_runner_loads_a_part(source, tiny_runner, tmp_path, refusal):
    """A missing tensor, and one of another shape; surplus ones are let be."""
    weights = dict(source, extra=torch.ones(1))
    del weights['head.fc.bias']
    weights['head.fc.weight'] = torch.ones(9, 16)
    path = save(dict(state_dict=weights), tmp_path / 'x.pth')
    runner = tiny_runner(sampler=dict(), load_from=path)
    message = (
        r'x.pth fills .* tensors of ImageClassifier.*: head.fc.weight '
        r'\(9, 16\) in place of \(4, 16\), head.fc.bias'
    )
    with check_fit(refusal):
        if refusal:
            with pytest.raises(ValueError, match=f'{message}\nNo.'):
                runner.load_or_resume()
            return
        runner.load_or_resume()
    log = read_log(runner)
    assert re.search(message, log)
    state = runner.model.state_dict()
    assert torch.equal(
        state['backbone.conv1.weight'], source['backbone.conv1.weight']
    )


def test_gathered_copies_are_not_judged(source, tiny_runner, tmp_path):
    """The state dict of a sharded model is made anew by each call."""
    path = save(source, tmp_path / 'x.pth')
    runner = tiny_runner(sampler=dict(), load_from=path)
    runner.model._register_state_dict_hook(
        lambda module, state, prefix, metadata: {
            key: value.clone() for key, value in state.items()
        }
    )
    with check_fit('No.'):
        runner.load_or_resume()


def add_prefix(source: dict) -> dict:
    return {f'module.{key}': value for key, value in source.items()}


def test_a_runner_loads_nothing(source, tiny_runner, tmp_path):
    # MMEngine takes one such prefix away.
    path = save(add_prefix(add_prefix(source)), tmp_path / 'x.pth')
    runner = tiny_runner(sampler=dict(), load_from=path)
    with check_fit(), pytest.raises(ValueError, match='x.pth: none of its'):
        runner.load_or_resume()


@pytest.mark.parametrize(
    'change, prefix',
    [
        (dict, None),  # the keys have a prefix
        (stripped, 'backbone.'),  # they have none
        (dict, 'neck.'),
        (add_prefix, 'backbone.'),
        (lambda source: dict(model=stripped(source)), None),
        # Right keys, wrong shapes.
        (
            lambda source: {k: v[None] for k, v in stripped(source).items()},
            None,
        ),
        (lambda source: {}, None),
        (lambda source: [1], None),
    ],
)
def test_unfit_weights_are_refused(source, change, prefix, tmp_path):
    path = save(change(source), tmp_path / 'x.pth')
    network = backbone(checkpoint=path, prefix=prefix)
    with pytest.raises(ValueError) as error, check_fit():
        network.init_weights()
    parts = path, repr(prefix), 'CIFARResNet', 'conv1.weight'
    for part in (*parts, 'model.backbone.init_cfg.checkpoint'):
        assert part in str(error.value)


def test_missing_file_says_where_to_name_it(tmp_path):
    path = str(tmp_path / 'none.pth')
    with pytest.raises(
        FileNotFoundError, match='none.pth.*model.backbone.init_cfg.checkpoint'
    ), check_fit():
        backbone(checkpoint=path).init_weights()


def test_mmengine_is_left_as_it_was():
    own = PretrainedInit.__call__, Runner.load_checkpoint
    with pytest.raises(RuntimeError), check_fit():
        assert PretrainedInit.__call__ is not own[0]
        raise RuntimeError
    assert (PretrainedInit.__call__, Runner.load_checkpoint) == own


def test_training_tool(train, config, trained, tmp_path):
    """tools/train.py with a checkpoint on its command line."""
    source = read_checkpoint(trained / 'epoch_1.pth')['state_dict']
    command = [
        *(config, '--work-dir', tmp_path, '--no-validate'),
        '--cfg-options',
        'optim_wrapper.optimizer.lr=0.0',  # so that weights can be compared
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={trained}/epoch_1.pth',
    ]
    with pytest.raises(ValueError, match='none of its'):
        train(command)
    train([*command, 'model.backbone.init_cfg.prefix=backbone.'])
    result = read_checkpoint(tmp_path / 'epoch_1.pth')['state_dict']
    before, after = (
        {k: v for k, v in state.items() if re.match('backbone.*weight$', k)}
        for state in (source, result)
    )
    assert_close(after, before, rtol=0, atol=0)
