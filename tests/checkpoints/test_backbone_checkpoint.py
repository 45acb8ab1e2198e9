"""Pretrained weights of which nothing would be loaded are refused."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmpretrain.registry import MODELS

from mmst.checkpoints import read_checkpoint
from mmst.checkpoints.backbone_checkpoint import (
    check_pretrained,
    refuse_unfit_pretrained,
)

from ..conftest import build_classifier, classifier

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
    with refuse_unfit_pretrained():
        network.init_weights()
    expected = stripped(source)
    for key, value in network.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_one_tensor_is_enough(source, tmp_path):
    key, value = next(iter(stripped(source).items()))
    check_pretrained(
        backbone(), save({f'module.{key}': value}, tmp_path / 'x.pth')
    )


@pytest.mark.parametrize(
    'change, prefix',
    [
        (lambda source: source, None),  # the keys have a prefix
        (stripped, 'backbone.'),  # they have none
        (lambda source: source, 'neck.'),
        (
            lambda source: {
                f'module.{key}': value for key, value in source.items()
            },
            'backbone.',
        ),
        (lambda source: dict(model=stripped(source)), None),
        (
            lambda source: {
                key: value[None]  # right keys, wrong shapes
                for key, value in stripped(source).items()
            },
            None,
        ),
        (lambda source: {}, None),
        (lambda source: [1], None),
    ],
)
def test_unfit_weights_are_refused(source, change, prefix, tmp_path):
    path = save(change(source), tmp_path / 'x.pth')
    network = backbone(checkpoint=path, prefix=prefix)
    before = {
        key: value.clone() for key, value in network.state_dict().items()
    }
    with pytest.raises(ValueError) as error, refuse_unfit_pretrained():
        network.init_weights()
    for part in (
        path,
        repr(prefix),
        'CIFARResNet',
        next(iter(before)),
        'model.backbone.init_cfg.checkpoint',
    ):
        assert part in str(error.value)
    after = network.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_missing_file_says_where_to_name_it(tmp_path):
    path = str(tmp_path / 'none.pth')
    with pytest.raises(
        FileNotFoundError, match='none.pth.*model.backbone.init_cfg.checkpoint'
    ):
        check_pretrained(backbone(), path)


def test_mmengine_is_left_as_it_was():
    own = PretrainedInit.__call__
    with pytest.raises(RuntimeError), refuse_unfit_pretrained():
        assert PretrainedInit.__call__ is not own
        raise RuntimeError
    assert PretrainedInit.__call__ is own


@pytest.mark.parametrize('prefix', ['backbone.', 'None'])
def test_training_tool(source, prefix, train, tmp_path):
    """tools/train.py with a checkpoint on its command line."""
    path = save(source, tmp_path / 'x.pth')
    config = tmp_path / 'config.py'
    Config(
        dict(
            default_scope='mmpretrain',
            model=dict(classifier(st=False)),
            train_dataloader=dict(
                batch_size=4,
                dataset=dict(type='TinyImages'),
                sampler=dict(type='DefaultSampler'),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            # Weights that are not touched can be compared.
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        )
    ).dump(config)
    command = [
        str(config),
        '--work-dir',
        str(tmp_path),
        '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={path}',
        f'model.backbone.init_cfg.prefix={prefix}',
    ]
    if prefix == 'None':
        with pytest.raises(ValueError, match='none of its'):
            train(command)
        return
    train(command)
    trained = read_checkpoint(tmp_path / 'epoch_1.pth')['state_dict']
    for name, _ in build_classifier(st=False).backbone.named_parameters():
        key = f'backbone.{name}'
        assert torch.equal(trained[key], source[key]), key
