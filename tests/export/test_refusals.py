"""What cannot be exported is refused, and nothing half-written is left."""

import re

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import GlobalAveragePooling
from mmpretrain.registry import MODELS

from mmst.export import FORMATS
from mmst.launch.configured_training import check_depths, find_trained_space
from mmst.subnets import SamplingSpace
from tests.conftest import NUM_CLASSES, build_classifier, classifier
from tests.export.conftest import export


@MODELS.register_module()
class OddPooling(GlobalAveragePooling):
    """Pools, and is odd in some way."""

    def __init__(self, odd):
        super().__init__()
        self.odd = odd

    def forward(self, inputs):
        (x,) = super().forward(inputs)
        if self.odd == 'never the same twice':
            x = x + torch.rand_like(x)
        if self.odd == 'reads a number into Python':
            x = x + x.mean().item()
        if self.odd == 'runs in Python only' and torch.jit.is_tracing():
            raise NotImplementedError('no trace of me')
        return (x,)


def refuse(
    runner, folder, message, depths=(1, 1, 1), error=ValueError, **options
):
    """Nothing of the folder, nor beside it, is there afterwards."""
    with pytest.raises(error, match=message):
        export(runner, folder / 'out', depths, **options)
    assert not folder.exists() or not list(folder.iterdir())


def test_refusals_leave_nothing_behind(make_runner, tmp_path, monkeypatch):
    folder, runner = tmp_path / 'folder', make_runner(classifier())
    refuse(runner, folder, 'depth 4 of stage 1', depths=(4, 1, 1))
    refuse(runner, folder, 'has 2 entries, but', depths=(1, 1))
    refuse(runner, folder, 'num_samples 0', num_samples=0)
    cfg = Config(runner.cfg.to_dict())
    cfg.model.neck.type = 'NoSuchNeck'
    refuse(runner, folder, 'NoSuchNeck', error=KeyError, cfg=cfg)
    # The config is of another network than the weights.
    cfg = Config(runner.cfg.to_dict())
    cfg.model.backbone.depth = 32
    cfg.model.head.head.num_classes = 5
    refuse(runner, folder, 'size mismatch', error=RuntimeError, cfg=cfg)
    monkeypatch.setattr('mmst.export.formats.find_spec', lambda name: None)
    options = dict(error=ModuleNotFoundError, formats=['onnx'])
    refuse(runner, folder, 'pip install onnx', **options)
    # The file is read again.
    monkeypatch.setattr(
        torch.jit,
        'load',
        lambda path: lambda images: torch.zeros(len(images), NUM_CLASSES),
    )
    told = 'a trace of ImageClassifier holds for the traced image only'
    refuse(runner, folder, told, formats=['torchscript'])
    runner.model.neck = OddPooling('never the same twice')
    refuse(runner, folder, 'differ from those of the subnet in place')
    (folder / 'mine').mkdir(parents=True)
    with pytest.raises(ValueError, match='already exists and is not empty'):
        export(runner, folder, (1, 1, 1))
    assert [path.name for path in folder.iterdir()] == ['mine']


@pytest.mark.parametrize(
    'odd, kinds, message',
    [
        (
            'reads a number into Python',
            ['torchscript'],
            'a trace of ImageClassifier holds for the traced image only, .*: '
            'leave out --torchscript',
        ),
        (
            'runs in Python only',
            [*FORMATS],
            'PyTorch cannot write ImageClassifier as onnx and torchscript, '
            r'.*\(no trace ',
        ),
    ],
)
def test_what_cannot_be_traced_is_not_written(
    make_runner, tmp_path, odd, kinds, message
):
    if 'onnx' in kinds:
        pytest.importorskip('onnx')
    neck = dict(type='OddPooling', odd=odd)
    runner = make_runner(dict(classifier(), neck=neck))
    refuse(runner, tmp_path / 'folder', message, formats=kinds)
    export(runner, tmp_path / 'out', (1, 1, 1))


def test_trained_space():
    model = build_classifier(depth=14)
    hooks = [
        dict(type='EMAHook'),
        dict(type='mmst.SubnetSamplerHook', space=[1, 2, 1]),
    ]
    space = find_trained_space(Config(dict(custom_hooks=hooks)), model)
    assert space.depths == ((2,), (2, 1), (2,))
    check_depths(space, (2, 1, 2))
    for depths in ((1, 2, 2), (2, 3, 2), (2, 2)):
        message = re.escape(f'{list(depths)} are not in the sampling space')
        with pytest.raises(ValueError, match=f'{message}.*: 2; 1 or 2; 2'):
            check_depths(space, depths)
    everything = find_trained_space(Config(dict()), model)
    assert everything.depths == SamplingSpace((2, 2, 2)).depths
