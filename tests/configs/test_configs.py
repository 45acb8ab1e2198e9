"""Every config parses, builds and trains on small data of its own format."""

import inspect
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config, DictAction
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.registry import MODELS

from mmst.engine import STEpochBasedTrainLoop
from mmst.models import STClsHead
from mmst.subnets import SubnetInputs, find_stages
from tests.conftest import ROOT, logged, write_images

from .parsed import VARIABLES, build, difference, parse

# Classifiers; the others are in test_downstream_*.py, and the demo's
# pretraining with what follows it in tests/demo/test_compare.py.
CONFIGS = sorted(
    str(path.relative_to(ROOT / 'configs'))
    for folder in ('demo', 'st', 'st_cifar')
    for path in (ROOT / 'configs' / folder).rglob('*.py')
    if not re.match('vit_(mae|probe|finetune)', path.name)
)


@pytest.fixture(scope='session')
def imagenet(tmp_path_factory) -> Path:
    """ImageNet's layout with annotation files, eight images a split."""
    root = tmp_path_factory.mktemp('imagenet')
    (root / 'meta').mkdir()
    for split in ('train', 'val'):
        names = [f'{split}_{i}.JPEG' for i in range(8)]
        write_images(root / split, names, size=40)
        lines = [f'{name} {100 * i}\n' for i, name in enumerate(names)]
        (root / 'meta' / f'{split}.txt').write_text(''.join(lines))
    return root


@pytest.fixture(scope='session')
def digits(tmp_path_factory) -> Path:
    """The demo data's folders, with two images of each digit."""
    root = tmp_path_factory.mktemp('digits')
    names = [f'{i}/{j}.png' for i in range(10) for j in range(2)]
    for split in ('train', 'val'):
        write_images(root / split, names)
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


def options_for(config: str, request) -> list:
    family, cfg = config.split('/')[0], parse(config)
    if family == 'demo':
        return data_options(request.getfixturevalue('digits'), 20) + [
            'train_cfg.max_epochs=3',
            'train_cfg.val_interval=3',
        ]
    if family == 'st_cifar':
        # The real files' checksums are not those of these few images.
        request.getfixturevalue('monkeypatch').setattr(
            CIFAR10, '_check_integrity', lambda self: True
        )
        return data_options(request.getfixturevalue('cifar')) + [
            'train_cfg.max_epochs=2',
            'train_cfg.val_interval=1',
        ]
    imagenet = request.getfixturevalue('imagenet')
    options = data_options(imagenet) + SMALL_IMAGENET
    kind = cfg.model.backbone.type
    if kind == 'ResNet':  # every eighth channel
        head = 'head' if '_ct' in config else 'head.head'
        options += [
            'model.backbone.base_channels=8',
            'model.backbone.stem_channels=8',
            f'model.{head}.in_channels=256',
        ]
    if kind == 'VisionTransformer':
        options += [
            'model.backbone.img_size=32',
            'param_scheduler.0.end=1',
            'param_scheduler.1.begin=1',
        ]
    if 'size_range' in cfg.get('custom_hooks', [{}])[0]:
        options.append('custom_hooks.0.size_range=[16,32]')
    return options


# The recipes that the others are variations of; they are slow to try.
USUAL = (
    'demo/resnet20_stpp_mnistm5k.py',
    'st/resnet50_st_in1k.py',
    'st/vit-small_st_in1k.py',
    'st_cifar/mobilenetv3_st_cifar10.py',
)
# One-line differences that the families' READMEs give, where only a training
# run shows that they work.
VARIANTS = {
    'st_cifar/resnet56_st_cifar10.py': [
        f'model.backbone.depth={depth}' for depth in (20, 32, 44, 110)
    ],
    'st_cifar/resnet56_ct_cifar10.py': ['model.backbone.depth=20'],
    'st/vit-small_st_in1k.py': [
        'custom_hooks.0.size_range=[0.43,1.0] model.backbone.img_size=64 '
        'train_dataloader.dataset.pipeline.1.scale=64'
    ],
    'st_cifar/densenet100_st_cifar100.py': [
        'model.backbone.depth=40 model.head.head.in_channels=132'
    ],
}


@pytest.mark.parametrize(
    'config, option',
    [
        pytest.param(
            config,
            option,
            marks=[] if config in USUAL and not option else pytest.mark.slow,
        )
        for config in CONFIGS
        for option in ['', *VARIANTS.get(config, [])]
    ],
)
def test_trains_validates_and_logs(config, option, request, train, tmp_path):
    options = options_for(config, request) + option.split()
    train(
        [f'configs/{config}', '--work-dir', tmp_path, '--cfg-options']
        + ['default_hooks.logger.interval=1', *options]
    )
    lines = logged(tmp_path)
    assert any('accuracy/top1' in line for line in lines)
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) >= 2 and all(map(math.isfinite, losses))


# Names at a config's top level that MMEngine's runner, tools/train.py or other
# configs read.
READ = {
    *inspect.signature(Runner.__init__).parameters,
    *('auto_scale_lr', 'custom_imports', 'dataset_type', 'data_root'),
    'vis_backends',
    *VARIABLES,
}


@pytest.mark.parametrize('config', CONFIGS)
def test_builds_and_leaves_nothing_unread(config):
    """Top-level names; a registry refuses options that it does not know."""
    cfg, model = parse(config), build(config)
    assert not {*cfg} - READ
    # A ViT's layers are one stage.
    assert len(find_stages(model)) >= 3 - 2 * ('vit' in config)
    st = cfg.train_cfg.get('type', '').startswith('mmst.ST')
    assert isinstance(model.head, STClsHead) is st
    hooks = [hook['type'] for hook in cfg.get('custom_hooks', [])]
    assert hooks.count('mmst.SubnetSamplerHook') == st


HOOK, HEAD = 'custom_hooks.0.', 'model.head.'
TRAIN, VAL, TEST = (
    f'{split}_dataloader.dataset.pipeline.'
    for split in ('train', 'val', 'test')
)
SITRANS = {
    HOOK + 'size_range.0': (None, 96),
    HOOK + 'size_range.1': (None, 224),
}
PIL = {
    '0.imdecode_backend': (None, 'pillow'),
    '0.color_type': (None, 'color_ignore_orientation'),
    '1.backend': (None, 'pillow'),
}
#: Table 3, one component after the other, then variants of A1.
DIFFERENCES = {
    ('table3/resnet50_st-kl-k1', 'table3/resnet50_st-klm-k6'): {
        HOOK + 'num_subnets': (1, 6),
        HEAD + 'normalize_main': (None, True),
        HEAD + 'loss_kl.normalize': (None, 'standardize'),
    },
    ('table3/resnet50_st-kl-k1', 'table3/resnet50_st-kl-k1-sit'): SITRANS,
    ('table3/resnet50_st-klm-k6', 'table3/resnet50_st-klm-k6-sit'): SITRANS,
    (
        'table3/resnet50_st-klm-k6-sit',
        'table3/resnet50_st-klm-k6-sit_vrs240',
    ): {VAL + '1.scale': (256, 240), TEST + '1.scale': (256, 240)},
    (
        'table3/resnet50_st-klm-k6-sit_vrs240',
        'table3/resnet50_st-klm-k6-sit_vrs240-tcs200',
    ): {
        TRAIN + '1.scale': (224, 200),
        HOOK + 'size_range.0': (96, 86),
        HOOK + 'size_range.1': (224, 200),
    },
    ('table3/resnet50_st-klm-k6-sit_vrs240-tcs200', 'resnet50_st'): {
        f'{HOOK}space.{i}': (None, n) for i, n in enumerate([1, 2, 4, 1])
    },
    ('resnet50_st', 'resnet50_st-l2'): {
        HEAD + 'normalize_main': (True, False),
        HEAD + 'loss_kl.normalize': ('standardize', 'l2'),
    },
    ('resnet50_st', 'resnet50_st-as-released'): {
        'train_cfg.update_running_stats': (None, True),
        'train_cfg.chain_inputs': (None, True),
        'train_cfg.input_transforms.0': (None, 'normalize'),
        'custom_hooks.1.type': (None, 'PreciseBNHook'),
        # Four batches of the recipe's 512.
        'custom_hooks.1.num_samples': (None, 2048),
        **{at + key: PIL[key] for at in (TRAIN, VAL, TEST) for key in PIL},
        TRAIN + '4.dtype': ('float32', 'uint8'),
        **{
            f'{TRAIN}5.eigval.{i}': (value, value / 255)
            for i, value in enumerate([55.4625, 4.7940, 1.1475])
        },
    },
}


@pytest.mark.parametrize('pair', DIFFERENCES, ids=' '.join)
def test_rows_differ_in_what_they_say(pair):
    """In nothing besides."""
    found = difference(*(parse(f'st/{name}_in1k.py') for name in pair))
    assert found.keys() == DIFFERENCES[pair].keys()
    for key, values in DIFFERENCES[pair].items():
        assert found[key] == pytest.approx(values), key


@pytest.mark.parametrize('form, place', [('', 3), ('-as-released', -2)])
def test_a2_is_a1_with_uniform_augment(form, place):
    a1, a2 = (
        Config.fromfile(ROOT / f'configs/st/{name}_in1k.py').to_dict()
        for name in (f'resnet50_st{form}', f'resnet50_st-ua{form}')
    )
    augment = a2['train_dataloader']['dataset']['pipeline'].pop(place)
    assert a2['train_cfg'].pop('max_epochs') == 400
    assert augment == a2.pop('uniform_augment')
    assert len(augment['policies']) == 14 and augment['num_policies'] == 2
    for cfg in (a1, a2):
        cfg['train_cfg'].pop('max_epochs', None)
        cfg.pop('train_pipeline')
    assert a1 == a2


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
    for name, method in (
        ('st/resnet50_{}_in1k', 'st'),
        ('demo/resnet20_{}_mnistm5k', 'stpp'),
        ('demo/resnet20_{}_numbers10k', 'stpp-shared'),
        ('demo/vit_{}_mnistm5k', 'st'),
    ):
        st, ct = (
            Config.fromfile(f'{ROOT}/configs/{name.format(m)}.py').to_dict()
            for m in (method, 'ct')
        )
        assert st['model']['head'].pop('head') == ct['model'].pop('head')
        st['model'].pop('head')
        for key in ('type', 'by_epoch'):
            st['train_cfg'].pop(key, None), ct['train_cfg'].pop(key, None)
        for key in ('custom_hooks', 'st_head', 'subnet_sampler'):
            st.pop(key, None)
        assert st == ct


def test_a1_recipe():
    """What the released procedure and its images leave open."""
    cfg = parse('st/resnet50_st_in1k.py')
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.auto_scale_lr.base_batch_size == 512
    assert cfg.model.backbone.zero_init_residual is False


def test_learning_rate_of_every_iteration(tiny_runner):
    """Cosine to zero, stepped every iteration, no warm-up."""
    cfg = parse('st/resnet50_ct_in1k.py')
    runner = tiny_runner(
        sampler=dict(num_subnets=0),
        max_epochs=4,
        param_scheduler=cfg.param_scheduler,
        optim_wrapper=cfg.optim_wrapper,
    )
    runner.train()
    rates = [line['lr'] for line in logged(runner.work_dir)]
    expected = [0.1 * (1 + math.cos(math.pi * i / 12)) for i in range(12)]
    assert rates == pytest.approx(expected, rel=1e-6)
