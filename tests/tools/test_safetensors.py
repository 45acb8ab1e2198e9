"""Weights in ``.safetensors`` files, wherever a config names a checkpoint."""

import copy

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
    """Write weights of another model than those that are to load them."""
    model = build_classifier(double=False)
    for parameter in model.parameters():
        parameter.data += 1
    path = tmp_path / 'net.safetensors'
    files.save_file(model.state_dict(), str(path))
    return str(path), model.state_dict()


def test_wherever_a_config_names_a_checkpoint(tiny_runner, weights):
    path, expected = weights
    config, model = classifier(), build_classifier(double=False)
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    config['backbone']['init_cfg'] = init_cfg
    runner = tiny_runner(model=config, sampler=dict(), load_from=path)
    with safe_load.safe_load(), check_fit():
        runner._init_model_weights()
        begun = copy.deepcopy(runner.model.backbone.state_dict())
        runner.load_or_resume()
        load_checkpoint(model, path, strict=True)
    own = {name: expected[f'backbone.{name}'] for name in begun}
    assert_close(begun, own, rtol=0, atol=0)
    for loaded in (runner.model, model):
        assert_close(loaded.state_dict(), expected, rtol=0, atol=0)


def test_package_is_not_there(weights, monkeypatch):
    monkeypatch.setattr(safe_load, 'find_spec', lambda name: None)
    with safe_load.safe_load(), pytest.raises(
        ModuleNotFoundError, match='net.safetensors .*pip install safetensors'
    ):
        torch.load(weights[0])
