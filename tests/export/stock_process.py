"""Use exported subnets in the stock toolboxes, mmst out of reach.

Run as a process of its own: 'outputs FOLDER ...' compares the outputs of the
models with those in expected.pt, 'blocks FOLDER' prints how many blocks a
stage has, 'test FOLDER' tests as tools/test.py does.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

sys.modules['mmst'] = None  # refuses to be imported

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS, init_default_scope  # noqa: E402
from mmengine.runner import Runner, load_checkpoint  # noqa: E402


def read(folder):
    """The one config with weights beside it."""
    (weights,) = Path(folder).glob('*.pth')
    return Config.fromfile(str(weights.with_suffix('.py'))), weights


def tensors(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [t for output in outputs for t in tensors(output)]


def build(folder):
    cfg, weights = read(folder)
    import_module(f'{cfg.default_scope}.models')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    torch.load(weights, weights_only=True)
    load_checkpoint(model, cfg.load_from, strict=True)
    return model.eval()


def count(folder):
    layers = build(folder).backbone.children()
    print(*(len(x) for x in layers if isinstance(x, torch.nn.Sequential)))


def compare(folder):
    model = build(folder)
    expected = torch.load(Path(folder) / 'expected.pt')
    with torch.no_grad():
        outputs = tensors(model(expected['images']))
    assert len(outputs) == len(expected['outputs']) > 0
    for a, b in zip(outputs, expected['outputs']):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test(folder):
    cfg, _ = read(folder)
    cfg.work_dir = str(Path(folder) / 'work')
    print(json.dumps(Runner.from_cfg(cfg).test()))


mode, *folders = sys.argv[1:]
for folder in folders:
    dict(outputs=compare, blocks=count, test=test)[mode](folder)
