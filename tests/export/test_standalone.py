"""Exported folders stand alone: stock toolbox, no mmst, the same outputs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from mmst.evaluation import run_as_subnet
from mmst.subnets import find_stages
from mmst.subnets.cost import iter_tensors
from tests.conftest import classifier
from tests.export.conftest import NUM_IMAGES, RESNET, export, stock

STOCK = Path(__file__).with_name('stock_process.py')


@DATASETS.register_module()
class BoxedScenes(Dataset):
    """Random images without objects."""

    metainfo = dict(classes=('a', 'b', 'c'))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        from mmdet.structures import DetDataSample

        generator = torch.Generator().manual_seed(index)
        image = torch.randint(
            256, (3, 64, 64), generator=generator, dtype=torch.uint8
        )
        sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
        return dict(inputs=image, data_samples=sample)


RETINANET = dict(
    type='RetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=8,
        init_cfg=dict(type='Pretrained', checkpoint='far/away.pth'),
    ),
    neck=dict(
        type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5
    ),
    bbox_head=dict(
        type='RetinaHead',
        num_classes=3,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
    ),
)
DETECTION = dict(
    default_scope='mmdet',
    visualizer=None,
    loop='mmst.STIterBasedTrainLoop',
    train_dataloader=dict(
        batch_size=2,
        num_workers=0,
        dataset=dict(type='BoxedScenes'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    ),
)
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
    detector=(RETINANET, (1, 2, 1, 1), 64),
)
OWN = dict(
    cifar=(classifier(), (2, 1, 3)),
    cifar_densenet=(
        stock(dict(type='mmst.CIFARDenseNet', depth=16, growth_rate=4), 16),
        (2, 1, 1),
    ),
)


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
        if name == 'detector':
            pytest.importorskip('mmdet.models')
        options = DETECTION if name == 'detector' else {}
        runner = make_runner(model, **options)
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
    done = subprocess.run(
        [sys.executable, str(STOCK), 'outputs', *map(str, folders)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('name', OWN)
def test_backbones_of_mmst_stay_there(make_runner, tmp_path, name):
    """The export needs mmst for them, and says so."""
    model, depths = OWN[name]
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
