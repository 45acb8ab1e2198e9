"""Options with values that cannot be meant are refused by their names.

One table for every option of every registered part: a new option is a row.
"""

import inspect
import math
import re
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from mmst.engine import (
    ReseedHook,
    STEpochBasedTrainLoop,
    STIterBasedTrainLoop,
    SubnetMetricsHook,
    SubnetSamplerHook,
)
from mmst.models import CIFARDenseNet, CIFARResNet, KLMinusLoss, STClsHead
from mmst.registry import HOOKS, LOOPS, MODELS
from mmst.subnets import SubnetInputs, SubnetSampler

NO_COUNT = [-1, 0.5, True, 'big', math.nan, math.inf, [1], dict()]
NO_POSITIVE = [0, -1, True, 'big', None, math.nan, math.inf, [1.0]]
NO_FLAG = [0, 1, None, 'no', [True]]
NO_SIZES = [0.5, 3, True, 'big', dict(), [], ['big'], [True], [math.nan]]
NO_DEPTHS = [0.5, 3.0, 'big', dict(), ['a', 1], [0], [1.5], [None], [True]]
NO_CONFIG = [3, True, 'big', [1], dict(), dict(normalize='l2')]
NO_LENGTH = [0, -1, 2, 4, 21, 3.5, True, 'big', None, [20]]

PLAIN = dict(type='LinearClsHead', num_classes=4, in_channels=3)


def make_head(**options):
    return STClsHead(**{'head': PLAIN, **options})


def make_epoch_loop(**options):
    runner, data = SimpleNamespace(hooks=[]), DataLoader([0])
    return STEpochBasedTrainLoop(runner, data, max_epochs=1, **options)


def make_iter_loop(**options):
    runner, data = SimpleNamespace(hooks=[]), DataLoader([0])
    return STIterBasedTrainLoop(runner, data, max_iters=1, **options)


#: The parts that others make, by these.
MADE = {
    make_head: STClsHead,
    make_epoch_loop: STEpochBasedTrainLoop,
    make_iter_loop: STIterBasedTrainLoop,
}

HOOK = {
    'num_subnets': [*NO_COUNT, None, 'most'],
    'space': [*NO_DEPTHS, 3],
    'min_depth': [*NO_DEPTHS, 0, -1, True],
    'strategy': [None, 3, 'best', ['raw']],
    'size_range': [*NO_SIZES, [0.5], [0.5, 2], [1.0, 0.5], [-1, 1]],
    'sizes': [*NO_SIZES, [0], [-0.5], [0.5, 64]],
    'num_sizes': [*NO_COUNT, 0],
    'sandwich': NO_FLAG,
    'begin': [*NO_COUNT, None],
    'every': [*NO_COUNT, 0, None],
}
LOSS = {
    'normalize': [True, 3, 'L2', 'softmax', ['l2']],
    'scale': NO_POSITIVE,
    'temperature': NO_POSITIVE,
    'loss_weight': [-0.5, True, 'big', None, math.nan, math.inf, [1.0]],
}
TABLE = {
    SubnetSamplerHook: {
        **HOOK,
        'begin': [-1, 1.0, -0.1, True, 'big', math.nan, [1], None],
        'by_epoch': NO_FLAG,
        'interval': [*NO_COUNT, 0],
        'seed': [3, None],  # the run's
    },
    SubnetSampler: {**HOOK, 'seed': []},  # Python seeds from anything
    SubnetMetricsHook: {
        'interval': [*NO_COUNT, 0, None],
        'by_epoch': NO_FLAG,
        'depths': [3, 'big', [3], [[0]], [[1.5]], [['big']], [[True]]],
        'num_samples': [*NO_COUNT, 0, None],
    },
    ReseedHook: {},
    KLMinusLoss: LOSS,
    make_head: {
        'normalize_main': NO_FLAG,
        'subnet_target': [None, 3, True, 'labels', ['main']],
        'head': [*NO_CONFIG, None],
        'loss_kl': [*NO_CONFIG, None],
        'init_cfg': NO_CONFIG,
    },
    # The others are those of the stock classes.
    CIFARResNet: {'depth': NO_LENGTH},
    CIFARDenseNet: {'depth': NO_LENGTH},
    SubnetInputs: {
        'transforms': ['crop', 3, None, ['zoom'], [3], [['crop']]],
        'chained': NO_FLAG,
    },
}
LOOP = {
    'update_running_stats': NO_FLAG,
    'share_prefixes': NO_FLAG,
    'chain_inputs': NO_FLAG,
    'input_transforms': TABLE[SubnetInputs]['transforms'],
}
TABLE.update({make_epoch_loop: LOOP, make_iter_loop: LOOP})
#: In Python alone; the others are registered.
IN_PYTHON = {SubnetSampler, SubnetInputs}
NEEDED = {CIFARResNet: dict(depth=20), CIFARDenseNet: dict(depth=40)}
#: Options whose error names them otherwise.
NAMES = dict(transforms='input_transforms', chained='chain_inputs')
ROWS = [
    (part, option, value)
    for part, options in TABLE.items()
    for option, values in options.items()
    for value in values
] + [(part, 'bogus', 1) for part in TABLE if part not in IN_PYTHON]


@pytest.mark.parametrize(
    'part, option, value',
    ROWS,
    ids=[f'{part.__name__}-{name}-{value}' for part, name, value in ROWS],
)
def test_refused_by_name(part, option, value):
    with pytest.raises((ValueError, TypeError)) as caught:
        part(**{**NEEDED.get(part, {}), option: value})
    message = str(caught.value)
    assert NAMES.get(option, option) in message
    if option == 'bogus':  # Python's own words, which name it
        return
    if part not in IN_PYTHON:  # where to set it
        assert MADE.get(part, part).__name__ in message
    if not isinstance(value, (list, dict)):
        assert repr(value) in message
    # What is allowed, or what to do; not Python's own words.
    assert not re.search('object|NoneType|subscript|keyword', message)


@pytest.mark.parametrize('part', list(TABLE))
def test_every_option_has_a_row(part):
    made = MADE.get(part, part)
    options = set(inspect.signature(made).parameters)
    options -= {'options', 'args', 'kwargs'}
    if made is SubnetSamplerHook:
        options |= set(inspect.signature(SubnetSampler).parameters)
    if part in NEEDED:
        options = set(NEEDED[part])
    assert set(TABLE[part]) == options


def test_every_registered_part_is_in_the_table():
    parts = {MADE.get(part, part) for part in TABLE}
    for registry in (MODELS, HOOKS, LOOPS):
        registry.import_from_location()
        assert set(registry.module_dict.values()) <= parts


def test_two_samplers(tiny_runner):
    hook = dict(type='mmst.SubnetSamplerHook', num_subnets=2)
    with pytest.raises(ValueError, match='2 SubnetSamplerHooks.*only one'):
        tiny_runner(sampler=dict(num_subnets=1), hooks=[hook]).train()


@pytest.mark.parametrize('num_samples', [3, 4])
def test_statistics_of_less_than_a_batch(tiny_runner, num_samples):
    """Batches of four: of three samples PreciseBNHook makes no batch."""
    hook = dict(type='PreciseBNHook', num_samples=num_samples)
    runner = tiny_runner(sampler=dict(), hooks=[hook], max_epochs=1)
    if num_samples < 4:
        with pytest.raises(ValueError, match='num_samples=3 is less than one'):
            runner.train()
        return
    runner.train()
    assert runner.model.backbone.bn1.running_var.all()
