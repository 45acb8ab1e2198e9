"""Every config parses, builds and trains on small data of its own format."""

import ast
import inspect
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image

from mmst.engine import STEpochBasedTrainLoop
from mmst.engine.loops import explain_apart
from mmst.models import STClsHead
from mmst.subnets import (
    SubnetInputs,
    find_stages,
    predict_iteration_cost,
)
from tests.conftest import ROOT, logged

from .parsed import build, difference, parse

# Classifiers; the others are in test_downstream_*.py, and the demo's
# pretraining with what follows it in tests/demo/test_compare.py.
CONFIGS = sorted(
    str(path.relative_to(ROOT / 'configs'))
    for folder in ('demo', 'st', 'st_cifar')
    for path in (ROOT / 'configs' / folder).rglob('*.py')
    if not re.match('vit_(mae|probe|finetune)', path.name)
)


def write_images(folder: Path, names, size: int) -> None:
    generator = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(256, size=(size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


@pytest.fixture(scope='session')
def imagenet(tmp_path_factory) -> Path:
    """ImageNet's folders: a thousand classes, an image each."""
    root = tmp_path_factory.mktemp('imagenet')
    for split in ('train', 'val'):
        write_images(
            root / split, [f'n{i:08}/n{i:08}_1.JPEG' for i in range(1000)], 40
        )
    return root


@pytest.fixture(scope='session')
def imagenet_meta(tmp_path_factory) -> Path:
    """ImageNet's other layout, with annotation files."""
    root = tmp_path_factory.mktemp('imagenet_meta')
    (root / 'meta').mkdir()
    for split in ('train', 'val'):
        names = [f'{split}_{i}.JPEG' for i in range(8)]
        write_images(root / split, names, 40)
        (root / 'meta' / f'{split}.txt').write_text(
            ''.join(f'{name} {100 * i}\n' for i, name in enumerate(names))
        )
    return root


@pytest.fixture(scope='session')
def digits(tmp_path_factory) -> Path:
    """The demo data's folders, with a few images."""
    root = tmp_path_factory.mktemp('digits')
    for split in ('train', 'val'):
        write_images(
            root / split,
            [f'{i}/{j}.png' for i in range(10) for j in range(2)],
            32,
        )
    return root


@pytest.fixture(scope='session')
def cifar(tmp_path_factory) -> Path:
    """CIFAR-10's and CIFAR-100's own pickled batches, a few images each."""
    root = tmp_path_factory.mktemp('cifar')
    generator = np.random.default_rng(0)
    for kind, key in ((CIFAR10, 'labels'), (CIFAR100, 'fine_labels')):
        folder = root / kind.base_folder
        folder.mkdir()
        for name, _ in kind.train_list + kind.test_list:
            pixels = generator.integers(256, size=(4, 3072), dtype=np.uint8)
            (folder / name).write_bytes(
                pickle.dumps({'data': pixels, key: [0, 1, 2, 3]})
            )
    return root


def data_options(root: Path, indices: int = 4) -> list:
    return [
        f'{name}_dataloader.{option}'
        for name in ('train', 'val')
        for option in (
            f'dataset.data_root={root}',
            'num_workers=0',
            'persistent_workers=False',
            'batch_size=4',
            f'dataset.indices={indices}',
        )
    ]


# ImageNet's images shrunk to 32 px, and the subnets' with them.
SMALL_IMAGENET = [
    'train_dataloader.dataset.pipeline.1.scale=32',
    'val_dataloader.dataset.pipeline.1.scale=36',
    'val_dataloader.dataset.pipeline.2.crop_size=32',
    'train_cfg.max_epochs=2',
]
NARROW = ['model.backbone.base_channels=8', 'model.backbone.stem_channels=8']
SMALL_SUBNETS = ['custom_hooks.0.size_range=[16,32]']


def options_for(config: str, request) -> list:
    if config.startswith('demo/'):
        return data_options(request.getfixturevalue('digits'), 20) + [
            'train_cfg.max_epochs=3',
            'train_cfg.val_interval=3',
        ]
    if config.startswith('st/'):
        st = '_ct' not in config
        root = request.getfixturevalue('imagenet' if st else 'imagenet_meta')
        cfg = parse(config)
        head = 'head.head' if st else 'head'
        sized = st and 'size_range' in cfg.custom_hooks[0]
        # Every eighth channel; A1 as it is, only on smaller images.
        narrow = (
            {
                'ResNet': [f'model.{head}.in_channels=256', *NARROW],
                'VisionTransformer': [
                    'model.backbone.img_size=32',
                    'param_scheduler.0.end=1',
                    'param_scheduler.1.begin=1',
                ],
            }
            if config != 'st/resnet50_st_in1k.py'
            else {}
        )
        return (
            data_options(root)
            + SMALL_IMAGENET
            + SMALL_SUBNETS * sized
            + narrow.get(cfg.model.backbone.type, [])
        )
    if config.startswith('st_cifar/'):
        # The real files' checksums are not those of these few images.
        request.getfixturevalue('monkeypatch').setattr(
            CIFAR10, '_check_integrity', lambda self: True
        )
        return data_options(request.getfixturevalue('cifar')) + [
            'train_cfg.max_epochs=2',
            'train_cfg.val_interval=1',
        ]
    raise AssertionError(f'no small data for {config}: add some here')


# The recipes that the others are variations of; they are slow to try.
USUAL = (
    'demo/resnet20_stpp_mnistm5k.py',
    'st/resnet50_st_in1k.py',
    'st/vit-small_st_in1k.py',
    'st_cifar/mobilenetv3_st_cifar10.py',
)
# One-line differences that the families' READMEs give, where only a training
# run shows that they work.
VARIANTS = [
    *[
        (
            'st_cifar/resnet56_st_cifar10.py',
            f'model.backbone.depth={depth}',
        )
        for depth in (20, 32, 44, 110)
    ],
    ('st_cifar/resnet56_ct_cifar10.py', 'model.backbone.depth=20'),
    (
        'st/vit-small_st_in1k.py',
        'custom_hooks.0.size_range=[0.43,1.0] model.backbone.img_size=64 '
        'train_dataloader.dataset.pipeline.1.scale=64',
    ),
    (
        'st_cifar/densenet100_st_cifar100.py',
        'model.backbone.depth=40 model.head.head.in_channels=132',
    ),
]


@pytest.mark.parametrize(
    'config, option',
    [
        pytest.param(
            config,
            option,
            marks=[] if config in USUAL and not option else pytest.mark.slow,
        )
        for config, option in [(c, '') for c in CONFIGS] + VARIANTS
    ],
)
def test_trains_validates_and_logs(config, option, request, train, tmp_path):
    options = options_for(config, request) + option.split()
    train(
        [
            f'configs/{config}',
            '--work-dir',
            str(tmp_path),
            '--cfg-options',
            'default_hooks.logger.interval=1',
            *options,
        ]
    )
    lines = logged(tmp_path)
    assert any('accuracy/top1' in line for line in lines)
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) >= 2 and all(map(math.isfinite, losses))
    if any('subnet0_loss' in line for line in lines):
        check_report(
            next(tmp_path.glob('*/*.log')).read_text(),
            Config.fromfile(tmp_path / Path(config).name),
        )


def check_report(text: str, cfg: Config) -> None:
    """The space and the cost that a run prints are those of its config."""
    hook = cfg.custom_hooks[0]
    model = MODELS.build(cfg.model)
    stages = find_stages(model)
    fewest = [hook.get('min_depth', 1)] * len(stages)
    if hook.get('space'):
        fewest = [
            len(stage) - number + 1
            for stage, number in zip(stages, hook.space)
        ]
    for stage, least in zip(stages, fewest):
        drawn = (
            'branch or shortcut of each block'
            if hook.get('strategy') == 'raw'
            else ', '.join(map(str, range(len(stage), least - 1, -1)))
        )
        assert re.search(
            rf'{stage.name} +{len(stage)} +\d+\.\d%  {drawn}\n', text
        )
    # The size and the sharing are the config's; that predictions are right is
    # in tests/subnets/test_iteration_cost.py.
    side = int(re.search(r'main input: (\d+) px', text)[1])
    ratio = predict_iteration_cost(
        model.backbone,
        torch.zeros(1, 3, side, side),
        HOOKS.build(hook).sampler.fit(model),
        explain_apart(**cfg.train_cfg) is None,
    )
    printed = float(re.search(r'iteration: ([\d.]+) times', text)[1])
    assert printed == pytest.approx(ratio, rel=0.05)


@pytest.mark.parametrize('config', CONFIGS)
def test_builds_with_stages_and_head(config):
    cfg, model = parse(config), build(config)
    # A ViT's layers are one stage.
    assert len(find_stages(model)) >= 3 - 2 * ('vit' in config)
    st = cfg.train_cfg.get('type', '').startswith('mmst.ST')
    assert isinstance(model.head, STClsHead) is st
    hooks = [hook['type'] for hook in cfg.get('custom_hooks', [])]
    assert hooks.count('mmst.SubnetSamplerHook') == st


# What MMEngine's runner and tools/train.py read at a config's top level.
READ = {
    *inspect.signature(Runner.__init__).parameters,
    'auto_scale_lr',
    'custom_imports',
}


def files_of(path: Path) -> list:
    """A config's file and the files below it."""
    bases = Config._get_base_files(str(path))
    return [
        path,
        *(
            file
            for base in bases
            if '::' not in base
            for file in files_of((path.parent / base).resolve())
        ),
    ]


@pytest.mark.parametrize('config', CONFIGS)
def test_nothing_that_is_set_is_left_unread(config):
    """What a registry builds refuses unknown options; this is the rest."""
    text = ''.join(
        file.read_text() for file in files_of(ROOT / 'configs' / config)
    )
    used = {
        node.id
        for node in ast.walk(
            ast.parse(text.replace('{{', '').replace('}}', ''))
        )
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    used |= set(re.findall(r'_base_\.(\w+)', text))
    assert not set(parse(config)) - READ - used


ST, KLM, SIT = (
    'table3/resnet50_st-kl-k1',
    'table3/resnet50_st-klm-k6',
    'table3/resnet50_st-klm-k6-sit',
)
VRS, TCS = SIT + '_vrs240', SIT + '_vrs240-tcs200'
HOOK, HEAD = 'custom_hooks.0.', 'model.head.'
LIGHTING = 'train_dataloader.dataset.pipeline.'


@pytest.mark.parametrize(
    'first, second, expected',
    [
        (
            ST,
            KLM,
            {
                HOOK + 'num_subnets': (1, 6),
                HEAD + 'normalize_main': (None, True),
                HEAD + 'loss_kl.normalize': (None, 'standardize'),
            },
        ),
        (
            ST,
            'table3/resnet50_st-kl-k1-sit',
            {
                HOOK + 'size_range.0': (None, 96),
                HOOK + 'size_range.1': (None, 224),
            },
        ),
        (
            KLM,
            SIT,
            {
                HOOK + 'size_range.0': (None, 96),
                HOOK + 'size_range.1': (None, 224),
            },
        ),
        (
            SIT,
            VRS,
            {
                f'{split}_dataloader.dataset.pipeline.1.scale': (256, 240)
                for split in ('val', 'test')
            },
        ),
        (
            VRS,
            TCS,
            {
                'train_dataloader.dataset.pipeline.1.scale': (224, 200),
                HOOK + 'size_range.0': (96, 86),
                HOOK + 'size_range.1': (224, 200),
            },
        ),
        (
            TCS,
            'resnet50_st',
            {
                f'{HOOK}space.{i}': (None, n)
                for i, n in enumerate([1, 2, 4, 1])
            },
        ),
        (
            'resnet50_st',
            'resnet50_st-l2',
            {
                HEAD + 'normalize_main': (True, False),
                HEAD + 'loss_kl.normalize': ('standardize', 'l2'),
            },
        ),
        (
            'resnet50_st',
            'resnet50_st-as-released',
            {
                'train_cfg.update_running_stats': (None, True),
                'train_cfg.chain_inputs': (None, True),
                'train_cfg.input_transforms.0': (None, 'normalize'),
                'custom_hooks.1.type': (None, 'PreciseBNHook'),
                # Four batches of the recipe's 512.
                'custom_hooks.1.num_samples': (None, 2048),
                **{
                    f'{split}_dataloader.dataset.pipeline.{key}': (None, value)
                    for split in ('train', 'val', 'test')
                    for key, value in (
                        ('0.imdecode_backend', 'pillow'),
                        ('0.color_type', 'color_ignore_orientation'),
                        ('1.backend', 'pillow'),
                    )
                },
                LIGHTING + '4.dtype': ('float32', 'uint8'),
                **{
                    f'{LIGHTING}5.eigval.{i}': (value, value / 255)
                    for i, value in enumerate([55.4625, 4.7940, 1.1475])
                },
            },
        ),
    ],
)
def test_rows_differ_in_what_they_say(first, second, expected):
    """Table 3: one component after the other, and nothing besides."""
    found = difference(
        *(parse(f'st/{name}_in1k.py') for name in (first, second))
    )
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values), key


@pytest.mark.parametrize('form, place', [('', 3), ('-as-released', -2)])
def test_a2_is_a1_with_uniform_augment(form, place):
    a1, a2 = (
        Config.fromfile(ROOT / f'configs/st/{name}_in1k.py').to_dict()
        for name in (f'resnet50_st{form}', f'resnet50_st-ua{form}')
    )
    augment = a2['train_dataloader']['dataset']['pipeline'].pop(place)
    assert a2['train_cfg'].pop('max_epochs') == 400
    for cfg in (a1, a2):
        cfg['train_cfg'].pop('max_epochs', None)
        cfg.pop('uniform_augment', None), cfg.pop('train_pipeline')
    assert a1 == a2
    assert len(augment['policies']) == 14 and augment['num_policies'] == 2
    transform = TRANSFORMS.build(augment)
    magnitudes = {}
    for operation in transform:  # with the random parts at their ends
        side = getattr(operation, 'direction', '')
        key = f'{type(operation).__name__} {side}'
        if operation.magnitude_range is not None:
            draws = [operation.random_magnitude() for _ in range(2000)]
            magnitudes[key.strip()] = (min(draws), max(draws))
    ends = {
        'Rotate': (0, 30),
        'Solarize': (0, 256),
        'Posterize': (3, 7),  # rounded up: 4 to 7 bits
        'ColorTransform': (0, 0.9),
        'Contrast': (0, 0.9),
        'Brightness': (0, 0.9),
        'Sharpness': (0, 0.9),
        'Shear horizontal': (0, 0.3),
        'Shear vertical': (0, 0.3),
        # of 200 px: 0 to 10
        'Translate horizontal': (0, 0.05),
        'Translate vertical': (0, 0.05),
    }
    assert set(magnitudes) == set(ends)
    for key, (low, high) in ends.items():
        assert magnitudes[key] == pytest.approx(
            (low, high), abs=0.02 * (high - low)
        )


README = (ROOT / 'configs/st/README.md').read_text()


@pytest.mark.parametrize(
    'option',
    sorted(set(re.findall(r'`((?:custom_hooks|train_cfg)[^`]+)`', README))),
)
def test_one_line_differences_are_read(option):
    """Each documented option is one that the hook or the loop takes."""
    key, value = option.split('=')
    value = DictAction._parse_iterable(value)
    cfg = Config.fromfile(ROOT / 'configs/st/resnet50_st_in1k.py')
    if key.startswith('custom_hooks.0.sizes'):
        cfg.custom_hooks[0].pop('size_range')
    cfg.merge_from_dict({key: value})
    sampler = HOOKS.build(cfg.custom_hooks[0]).sampler
    sampler.fit(MODELS.build(dict(type='ResNet', depth=50)))
    SubnetInputs(cfg.train_cfg.get('input_transforms', ()))
    assert key.split('.')[-1] in {
        **inspect.signature(type(sampler)).parameters,
        **inspect.signature(STEpochBasedTrainLoop).parameters,
        **inspect.signature(EpochBasedTrainLoop).parameters,
    }


def test_st_is_ct_but_for_the_method():
    """Comparing them compares the training method and nothing else."""
    for st, ct in (
        ('st/resnet50_st_in1k', 'st/resnet50_ct_in1k'),
        ('demo/resnet20_stpp_mnistm5k', 'demo/resnet20_ct_mnistm5k'),
        (
            'demo/resnet20_stpp-shared_numbers10k',
            'demo/resnet20_ct_numbers10k',
        ),
        ('demo/vit_st_mnistm5k', 'demo/vit_ct_mnistm5k'),
    ):
        st, ct = (
            Config.fromfile(ROOT / 'configs' / f'{name}.py').to_dict()
            for name in (st, ct)
        )
        assert st['model']['head'].pop('head') == ct['model'].pop('head')
        st['model'].pop('head')
        for key in ('type', 'by_epoch'):
            st['train_cfg'].pop(key, None), ct['train_cfg'].pop(key, None)
        for key in ('custom_hooks', 'st_head', 'subnet_sampler'):
            st.pop(key, None)
        assert st == ct


def test_a1_recipe():
    """The released recipe's facts, as design and paper give them."""
    cfg = parse('st/resnet50_st_in1k.py')
    optimizer = cfg.optim_wrapper.optimizer
    assert (
        optimizer.type,
        optimizer.lr,
        optimizer.momentum,
        optimizer.nesterov,
        optimizer.weight_decay,
    ) == ('SGD', 0.2, 0.9, True, 1e-4)
    assert 'paramwise_cfg' not in cfg.optim_wrapper
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.auto_scale_lr.base_batch_size == 512
    assert cfg.model.backbone.zero_init_residual is False
    hook = cfg.custom_hooks[0]
    assert (hook.num_subnets, hook.space, hook.size_range) == (
        6,
        [1, 2, 4, 1],
        (86, 200),
    )
    assert cfg.train_dataloader.dataset.pipeline[1].scale == 200
    assert [
        t.get('scale', t.get('crop_size'))
        for t in cfg.val_dataloader.dataset.pipeline[1:3]
    ] == [240, 224]


def test_lighting_against_plain_numpy(monkeypatch):
    """Channel order and scale: mmpretrain's images are BGR, 0 to 255."""
    cfg = parse('st/resnet50_ct_in1k.py')
    light = [
        TRANSFORMS.build(t)
        for t in cfg.train_pipeline
        if t['type'] in ('PILToNumpy', 'Lighting')
    ]
    assert len(light) == 2
    alpha = np.array([0.3, -0.2, 0.1])
    monkeypatch.setattr(
        np.random, 'normal', lambda mean, std, size: alpha * (std / 0.1)
    )
    rgb = (
        np.random.default_rng(0).integers(256, size=(4, 5, 3)).astype(np.uint8)
    )
    results = dict(img=rgb[..., ::-1].copy())
    for transform in light:
        results = transform(results)
    # On images in 0 to 1, in RGB, as AlexNet's authors give it.
    values = np.array([0.2175, 0.0188, 0.0045])
    vectors = np.array(
        [
            [-0.5675, 0.7192, 0.4009],
            [-0.5808, -0.0045, -0.8140],
            [-0.5836, -0.6948, 0.4203],
        ]
    )
    expected = rgb / 255 + vectors @ (alpha * values)
    np.testing.assert_allclose(
        results['img'][..., ::-1] / 255, expected, atol=1e-5
    )
    assert results['img'].min() < 0 or results['img'].max() > 255


@pytest.mark.parametrize('kind', ['brightness', 'contrast', 'saturation'])
def test_colour_jitter_against_plain_numpy(kind):
    """Grey is a mean with a weight for each channel: B, G, R it has to be."""
    cfg = parse('st/resnet50_ct_in1k.py')
    jitter = next(t for t in cfg.train_pipeline if t['type'] == 'ColorJitter')
    jitter = TRANSFORMS.build(
        {
            **jitter,
            **dict.fromkeys(('brightness', 'contrast', 'saturation'), 0.0),
            kind: (0.6, 0.6),
        }
    )
    rgb = (
        np.random.default_rng(0).integers(256, size=(4, 5, 3)).astype(np.uint8)
    )
    out = jitter(dict(img=rgb[..., ::-1].copy()))['img'][..., ::-1]
    grey = rgb @ np.array([0.299, 0.587, 0.114])
    other = dict(
        brightness=0.0, contrast=grey.mean(), saturation=grey[..., None]
    )[kind]
    np.testing.assert_allclose(out, 0.6 * rgb + 0.4 * other, atol=1.5)


def test_learning_rate_of_every_iteration(tiny_runner):
    """Cosine to zero, stepped every iteration, no warm-up."""
    cfg = parse('st/resnet50_ct_in1k.py')
    runner = tiny_runner(
        sampler=dict(num_subnets=0),
        max_epochs=4,
        param_scheduler=cfg.param_scheduler,
        optim_wrapper=cfg.optim_wrapper,
    )
    rates = []
    step = runner.train_loop._run_st_iter

    def watch(*args):
        rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        step(*args)

    runner.train_loop._run_st_iter = watch
    runner.train()
    expected = [0.1 * (1 + math.cos(math.pi * i / 12)) for i in range(12)]
    assert rates == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_two_processes_agree(digits, train_twice):
    """The command that the README gives. Contract 5."""
    output, first, second = train_twice(
        'demo/resnet20_stpp_mnistm5k.py',
        *data_options(digits, 20),
        'train_cfg.max_epochs=3',
    )
    assert 'subnet2_loss' in output
    for name, parameter in first.items():
        assert torch.equal(parameter, second[name]), name
