"""Weights in ``.safetensors`` files, wherever a config names a checkpoint."""

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch.testing import assert_close

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


def test_load_from(tiny_runner, weights):
    path, expected = weights
    runner = tiny_runner(sampler=dict(), load_from=path)
    model = build_classifier(double=False)
    with safe_load.safe_load():
        runner.load_or_resume()
        load_checkpoint(model, path, strict=True)
    for loaded in (runner.model, model):
        assert_close(loaded.state_dict(), expected, rtol=0, atol=0)


def test_init_cfg(tiny_runner, weights):
    path, expected = weights
    model = classifier()
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    model['backbone']['init_cfg'] = init_cfg
    runner = tiny_runner(model=model, sampler=dict())
    with safe_load.safe_load(), check_fit():
        runner._init_model_weights()
    loaded = runner.model.backbone.state_dict()
    own = {name: expected[f'backbone.{name}'] for name in loaded}
    assert_close(loaded, own, rtol=0, atol=0)


def test_package_is_not_there(weights, monkeypatch):
    monkeypatch.setattr(safe_load, 'find_spec', lambda name: None)
    with safe_load.safe_load(), pytest.raises(
        ModuleNotFoundError, match='net.safetensors .*pip install safetensors'
    ):
        torch.load(weights[0])
