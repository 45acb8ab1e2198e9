"""Weights in ``.safetensors`` files, wherever a config names a checkpoint."""

import pytest
import torch
from mmengine.runner import load_checkpoint

from mmst.checkpoints import safe_load
from mmst.checkpoints.fit import check_fit
from tests.conftest import build_classifier, classifier

files = pytest.importorskip('safetensors.torch')


@pytest.fixture
def weights(tmp_path):
    """Of a model other than the ones that are to load it."""
    model = build_classifier(double=False)
    for parameter in model.parameters():
        parameter.data += 1
    path = tmp_path / 'net.safetensors'
    files.save_file(model.state_dict(), str(path))
    return str(path), model.state_dict()


def check(model, state_dict):
    for name, value in model.state_dict().items():
        assert torch.equal(value, state_dict[name]), name


def test_load_from(tiny_runner, weights):
    path, expected = weights
    runner = tiny_runner(sampler=dict(), load_from=path)
    with safe_load.safe_load():
        runner.load_or_resume()
    check(runner.model, expected)
    model = build_classifier(double=False)
    with safe_load.safe_load():
        load_checkpoint(model, path, strict=True)
    check(model, expected)


def test_init_cfg(tiny_runner, weights):
    path, expected = weights
    model = classifier()
    model['backbone']['init_cfg'] = dict(
        type='Pretrained', checkpoint=path, prefix='backbone.'
    )
    runner = tiny_runner(model=model, sampler=dict())
    with safe_load.safe_load(), check_fit():
        runner._init_model_weights()
    for name, value in runner.model.backbone.state_dict().items():
        assert torch.equal(value, expected[f'backbone.{name}']), name


def test_package_is_not_there(weights, monkeypatch):
    monkeypatch.setattr(safe_load, 'find_spec', lambda name: None)
    with safe_load.safe_load(), pytest.raises(
        ModuleNotFoundError, match='net.safetensors .*pip install safetensors'
    ):
        torch.load(weights[0])
