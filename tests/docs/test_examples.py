"""Every function and class that a user calls has an example, which runs.

The page that says what examples have at hand is ``docs/api/examples.md``.
"""

import doctest
import inspect
from importlib import import_module

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn
from torchvision.models import resnet18

from mmst.subnets import SubnetSampler
from tests.analysis.evaluation_by_hand import VALIDATION
from tests.conftest import ROOT, batch, build_classifier, sgd

PACKAGES = ('subnets', 'targets', 'models', 'engine', 'evaluation')
PACKAGES += ('checkpoints', 'export')


def is_called(value) -> bool:
    """Functions and classes, but for tuples that functions give."""
    if inspect.isclass(value):
        return not issubclass(value, tuple)
    return inspect.isfunction(value)


def analyses() -> list:
    page = (ROOT / 'docs/api/analysis.md').read_text()
    return [
        import_module(line.split()[-1])
        for line in page.splitlines()
        if line.startswith('.. automodule:: mmst.analysis.')
    ]


def public_names():
    for package in PACKAGES:
        module = import_module(f'mmst.{package}')
        for name in module.__all__:
            if is_called(getattr(module, name)):
                yield f'mmst.{package}', name
    for module in analyses():
        for name, value in vars(module).items():
            if (
                is_called(value)
                and value.__module__ == module.__name__
                and not name.startswith('_')
            ):
                yield module.__name__, name


def imported(module: str) -> dict:
    """Names that the examples of a page have imported."""
    names = dict(np=np, torch=torch, nn=nn)
    is_analysis = module.startswith('mmst.analysis')
    pages = analyses() if is_analysis else [import_module(module)]
    for page in [import_module('mmst.subnets'), *pages]:
        names.update(vars(page))
    return names


@pytest.fixture
def at_hand(tiny_runner, tmp_path):
    """Make what examples share, if they name it."""

    def at_hand(module: str, text: str) -> dict:
        found = dict(folder=tmp_path, data_batch=batch(double=False))
        if module == 'mmst.subnets':
            model = resnet18(num_classes=10)
            found.update(
                model=model,
                images=torch.rand(2, 3, 32, 32),
                labels=torch.tensor([3, 7]),
                cross_entropy=nn.functional.cross_entropy,
                optimizer=torch.optim.SGD(model.parameters(), 0.01),
                subnets=SubnetSampler(num_subnets=2).fit(model).draw(0),
            )
        else:
            found['model'] = build_classifier(double=False)
            found['optim_wrapper'] = sgd(found['model'])
        if 'runner' in text or 'work_dir' in text:
            sampler = dict(num_subnets=1)
            runner = tiny_runner(sampler=sampler, max_epochs=1, **VALIDATION)
            found.update(runner=runner, work_dir=runner.work_dir)
        if 'work_dir' in text:
            runner.train()
        return found

    return at_hand


@pytest.fixture(autouse=True)
def nothing_is_compiled(monkeypatch):
    """PyTorch's compiler disables the step hooks of later tests' optimizers.

    tests/compiled_checks.py compiles, in an interpreter of its own.
    """
    monkeypatch.setattr(torch, 'compile', lambda function, **_: function)


@pytest.mark.parametrize('module, name', list(public_names()))
def test_example(module, name, at_hand):
    value = getattr(import_module(module), name)
    doc = value.__doc__ or ''
    _, there, text = doc.partition('Example:')
    assert there and '>>>' in text, f'{module}.{name} has no Example:'
    assert '+SKIP' not in text
    names = {**imported(module), **at_hand(module, text)}
    if module == 'mmst.targets':
        names['DataSample'] = DataSample
    example = doctest.DocTestParser().get_doctest(
        inspect.cleandoc(text), names, name, None, 0
    )
    said = []
    doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(
        example, out=said.append
    )
    assert not said, ''.join(said)


def test_page_says_what_is_at_hand(at_hand):
    page = (ROOT / 'docs/api/examples.md').read_text()
    for module in ('mmst.subnets', 'mmst.engine'):
        for name in at_hand(module, 'runner'):
            assert f'`{name}`' in page, name
