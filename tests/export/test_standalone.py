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
from mmst.export import write_standalone
from mmst.subnets import find_stages
from mmst.subnets.cost import iter_tensors
from tests.conftest import classifier
from tests.export.conftest import NUM_IMAGES, RESNET, stock

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
STOCK_RESNET = stock(
    dict(type='ResNet', depth=18, base_channels=8, stem_channels=8), 64
)
MODELS = dict(
    main=(RESNET, (2, 2, 2, 2)),
    resnet=(STOCK_RESNET, (1, 2, 1, 1)),
    mobilenet=(
        stock(dict(type='MobileNetV3', arch='small'), 576),
        (1, 1, 3, 1, 2),
    ),
    vit=(
        stock(
            dict(
                type='VisionTransformer',
                img_size=16,
                patch_size=4,
                arch=dict(
                    embed_dims=16,
                    num_layers=4,
                    num_heads=2,
                    feedforward_channels=32,
                ),
            ),
            16,
            False,
            'VisionTransformerClsHead',
        ),
        (3,),
    ),
    densenet=(
        stock(
            dict(
                type='DenseNet',
                arch=dict(growth_rate=4, depths=[2, 3, 2], init_channels=8),
            ),
            18,
        ),
        (1, 3, 1),
    ),
)
OWN = dict(
    cifar=(classifier(), (2, 1, 3)),
    cifar_densenet=(
        stock(dict(type='mmst.CIFARDenseNet', depth=16, growth_rate=4), 16),
        (2, 1, 1),
    ),
)


def expect(runner, depths, size, folder):
    """Write what the subnet in place gives next to the exported one."""
    images = torch.randn(2, 3, size, size)
    runner.model.eval()
    whole = tuple(map(len, find_stages(runner.model))) == depths
    with torch.no_grad(), run_as_subnet(
        runner, None if whole else depths, NUM_IMAGES
    ):
        outputs = list(iter_tensors(runner.model(images)))
        state = {k: v.clone() for k, v in runner.model.state_dict().items()}
    torch.save(dict(images=images, outputs=outputs), folder / 'expected.pt')
    return state


@pytest.mark.parametrize(
    'names',
    [
        ['resnet'],
        pytest.param([*MODELS, 'detector'], marks=pytest.mark.slow),
    ],
)
def test_stock_toolboxes_give_the_same_outputs(make_runner, tmp_path, names):
    """Weights bit-equal, statistics re-estimated, in a Python without mmst."""
    folders = []
    for name in names:
        if name == 'detector':
            folders.append(export_detector(make_runner, tmp_path / name))
            continue
        model, depths = MODELS[name]
        runner = make_runner(model)
        before = {k: v.clone() for k, v in runner.model.state_dict().items()}
        out = tmp_path / 'new' / name
        needed = write_standalone(
            runner,
            runner.cfg,
            depths,
            out,
            name,
            NUM_IMAGES,
            dict(classes=('x', 'y')),
        )
        assert needed == []
        checkpoint = torch.load(out / f'{name}.pth')
        assert checkpoint['meta'] == dict(
            dataset_meta=dict(classes=('x', 'y'))
        )
        expected = expect(
            runner, depths, 16 if name != 'densenet' else 32, out
        )
        for key, value in checkpoint['state_dict'].items():
            if expected[key].shape == value.shape:
                assert torch.equal(value, expected[key]), (name, key)
            else:
                assert name == 'densenet'
        assert all(
            torch.equal(value, before[key])
            for key, value in runner.model.state_dict().items()
        )
        assert (
            'mmst.'
            not in (out / f'{name}.py').read_text().partition('import sys')[2]
        )
        folders.append(str(out))
    done = subprocess.run(
        [sys.executable, str(STOCK), 'outputs', *folders],
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
    (needed,) = write_standalone(
        runner, runner.cfg, depths, tmp_path / 'out', name, NUM_IMAGES
    )
    kind = type(runner.model.backbone)
    assert needed == f'{kind.__module__}.{kind.__name__}'
    imports = Config.fromfile(
        str(tmp_path / 'out' / f'{name}.py')
    ).custom_imports.imports
    assert imports == ['mmst', f'backbone_{name}']
    source = (tmp_path / 'out' / f'backbone_{name}.py').read_text()
    assert f'from mmst.models import {kind.__name__}\n' in source


def export_detector(make_runner, out):
    import mmdet.models  # noqa: F401

    runner = make_runner(
        RETINANET,
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
    depths = (1, 2, 1, 1)
    assert write_standalone(runner, runner.cfg, depths, out, 'det', 4) == []
    assert 'far/away' not in (out / 'det.py').read_text()
    expect(runner, depths, 64, out)
    return str(out)


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
    write_standalone(runner, cfg, (1, 2, 1, 2), tmp_path / 'out', 'a b', 4)
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
    left = write_standalone(
        runner, cfg, (2, 1, 1, 2), tmp_path / 'out', 'n', 4
    )
    assert left == ['mmst.Mine']
    imports = Config.fromfile(str(tmp_path / 'out' / 'n.py')).custom_imports
    assert set(imports.imports) == {'mmst', 'backbone_n'}


def test_stock_main_network_needs_no_module(make_runner, tmp_path):
    """Its statistics are its own, the classes those of the data."""
    runner = make_runner(STOCK_RESNET)
    out, notes = tmp_path / 'out', ['top-1 75', 'on cpu']
    write_standalone(
        runner, runner.cfg, (2, 2, 2, 2), out, 'n', 4, notes=notes
    )
    assert sorted(p.name for p in out.iterdir()) == ['n.pth', 'n.py']
    assert Config.fromfile(str(out / 'n.py')).model.backbone.type == 'ResNet'
    head = (out / 'n.py').read_text().partition('import sys')[0]
    assert head.splitlines()[1:] == ['# top-1 75', '# on cpu']
    written = torch.load(out / 'n.pth')
    assert written['meta'] == dict(dataset_meta=dict(classes=list('abcd')))
    for key, value in runner.model.state_dict().items():
        assert torch.equal(written['state_dict'][key], value), key
