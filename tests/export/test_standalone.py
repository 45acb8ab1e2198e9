"""Exported folders stand alone: stock toolbox, no mmst, the same outputs."""

import sys

import pytest
import torch
from mmengine.config import Config

from mmst.evaluation import run_as_subnet
from mmst.subnets import find_stages
from mmst.subnets.cost import iter_tensors
from tests.conftest import classifier
from tests.engine.dense_tasks import runner_options
from tests.environments import run_process
from tests.export.conftest import NUM_IMAGES, RESNET, STOCK, export, stock


def detection():
    """A detector whose backbone was pretrained, and its data."""
    options = runner_options('one_stage')
    options['model'].backbone.update(
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='far/away.pth'),
    )
    options['train_dataloader']['sampler']['shuffle'] = False
    return options


STOCK_RESNET = stock(
    dict(type='ResNet', depth=18, base_channels=8, stem_channels=8), 64
)
VIT = dict(
    type='VisionTransformer',
    img_size=16,
    patch_size=4,
    arch=dict(
        embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32
    ),
)
DENSENET = dict(
    type='DenseNet',
    arch=dict(growth_rate=4, depths=[2, 3, 2], init_channels=8),
)
# The model, depths of a subnet, and the side of images.
MODELS = dict(
    main=(RESNET, (2, 2, 2, 2), 16),
    resnet=(STOCK_RESNET, (1, 2, 1, 1), 16),
    mobilenet=(
        stock(dict(type='MobileNetV3', arch='small'), 576),
        (1, 1, 3, 1, 2),
        16,
    ),
    vit=(stock(VIT, 16, False, 'VisionTransformerClsHead'), (3,), 16),
    densenet=(stock(DENSENET, 18), (1, 3, 1), 32),
    detector=(None, (1, 2, 1, 1), 64),
)
CIFAR_DENSENET = dict(type='mmst.CIFARDenseNet', depth=16, growth_rate=4)


@pytest.mark.parametrize(
    'names',
    [['resnet'], pytest.param([*MODELS], marks=pytest.mark.slow)],
)
def test_stock_toolboxes_give_the_same_outputs(make_runner, tmp_path, names):
    """Weights bit-equal, statistics re-estimated, in a Python without mmst."""
    folders = [tmp_path / 'new' / name for name in names]
    meta = dict(classes=('x', 'y'))
    for name, out in zip(names, folders):
        model, depths, size = MODELS[name]
        options = dict(model=model)
        if name == 'detector':
            pytest.importorskip('mmdet')
            options = detection()
        runner = make_runner(**options)
        before = {k: v.clone() for k, v in runner.model.state_dict().items()}
        options = dict(name=name, dataset_meta=meta)
        assert export(runner, out, depths, NUM_IMAGES, **options) == []
        for key, value in runner.model.state_dict().items():
            assert torch.equal(value, before[key]), (name, key)
        _, written = (out / f'{name}.py').read_text().split('import sys', 1)
        assert 'mmst.' not in written and 'far/away' not in written
        # What the subnet in place gives, for the other process.
        images = torch.randn(2, 3, size, size)
        runner.model.eval()
        whole = tuple(map(len, find_stages(runner.model))) == depths
        with torch.no_grad(), run_as_subnet(
            runner, None if whole else depths, NUM_IMAGES
        ):
            outputs = list(iter_tensors(runner.model(images)))
            state = runner.model.state_dict()
            checkpoint = torch.load(out / f'{name}.pth')
            for key, value in checkpoint['state_dict'].items():
                if state[key].shape == value.shape:
                    assert torch.equal(value, state[key]), (name, key)
                else:
                    assert name == 'densenet'
        assert checkpoint['meta'] == dict(dataset_meta=meta)
        torch.save(dict(images=images, outputs=outputs), out / 'expected.pt')
    run_process(sys.executable, STOCK, 'outputs', *folders, cwd=tmp_path)


@pytest.mark.parametrize(
    'model, depths',
    [(classifier(), (2, 1, 3)), (stock(CIFAR_DENSENET, 16), (2, 1, 1))],
)
def test_backbones_of_mmst_stay_there(make_runner, tmp_path, model, depths):
    """The export needs mmst for them, and says so."""
    runner = make_runner(model)
    (needed,) = export(runner, tmp_path / 'out', depths)
    kind = type(runner.model.backbone)
    assert needed == f'{kind.__module__}.{kind.__name__}'
    cfg = Config.fromfile(str(tmp_path / 'out' / 'n.py'))
    assert cfg.custom_imports.imports == ['mmst', 'backbone_n']
    source = (tmp_path / 'out' / 'backbone_n.py').read_text()
    assert f'from mmst.models import {kind.__name__}\n' in source


def test_config_has_no_more_of_stimulative_training(make_runner, tmp_path):
    # The sampler hook is there besides.
    runner = make_runner(RESNET, hooks=[dict(type='EMAHook')])
    cfg = Config(
        dict(
            runner.cfg,
            plain_head=dict(type='mmst.STClsHead'),
            custom_imports=dict(imports=['mmst', 'mmst.models', 'json']),
            train_cfg=dict(
                type='mmst.STIterBasedTrainLoop',
                max_iters=7,
                update_running_stats=True,
                chain_inputs=True,
            ),
            default_hooks=dict(
                reseed=dict(type='mmst.ReseedHook'),
                timer=dict(type='IterTimerHook'),
            ),
        )
    )
    export(runner, tmp_path / 'out', (1, 2, 1, 2), cfg=cfg, name='a b')
    plain = Config.fromfile(str(tmp_path / 'out' / 'a b.py'))
    module = 'backbone_a_b'
    assert plain.train_cfg == dict(type='IterBasedTrainLoop', max_iters=7)
    assert plain.custom_hooks == [dict(type='EMAHook')]
    assert plain.default_hooks == dict(timer=dict(type='IterTimerHook'))
    assert plain.custom_imports.imports == ['json', module]
    assert plain.model.head == cfg.model.head.head
    assert plain.model.backbone == dict(cfg.model.backbone, type=module)
    assert plain.optim_wrapper == cfg.optim_wrapper
    assert 'worker_init_fn' not in plain.train_dataloader
    assert 'plain_head' not in plain and 'work_dir' not in plain
    assert plain.load_from == str(tmp_path / 'out' / 'a b.pth')
    # The given config is as it was.
    assert cfg.model.head.type == 'mmst.STClsHead'


def test_what_needs_mmst_is_told(make_runner, tmp_path):
    runner = make_runner(STOCK_RESNET)
    cfg = Config(dict(runner.cfg, val_evaluator=dict(type='mmst.Mine')))
    left = export(runner, tmp_path / 'out', (2, 1, 1, 2), cfg=cfg)
    assert left == ['mmst.Mine']
    imports = Config.fromfile(str(tmp_path / 'out' / 'n.py')).custom_imports
    assert set(imports.imports) == {'mmst', 'backbone_n'}


def test_stock_main_network_needs_no_module(make_runner, tmp_path):
    """Its statistics are its own, the classes those of the data."""
    runner = make_runner(STOCK_RESNET)
    out, notes = tmp_path / 'out', ['top-1 75', 'on cpu']
    export(runner, out, (2, 2, 2, 2), notes=notes)
    assert sorted(p.name for p in out.iterdir()) == ['n.pth', 'n.py']
    assert Config.fromfile(str(out / 'n.py')).model.backbone.type == 'ResNet'
    head = (out / 'n.py').read_text().partition('import sys')[0]
    assert head.splitlines()[1:] == ['# top-1 75', '# on cpu']
    written = torch.load(out / 'n.pth')
    assert written['meta'] == dict(dataset_meta=dict(classes=list('abcd')))
    for key, value in runner.model.state_dict().items():
        assert torch.equal(written['state_dict'][key], value), key
