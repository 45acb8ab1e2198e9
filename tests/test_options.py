"""Options with values that cannot be meant are refused by their names.

One table for every option of every registered part: a new option is a row.
"""

import inspect
import math
import re

import pytest

from mmst.engine import ReseedHook, SubnetMetricsHook, SubnetSamplerHook
from mmst.models import KLMinusLoss, STClsHead
from mmst.subnets import SubnetInputs, SubnetSampler

NO_COUNT = [-1, 0.5, True, 'big', math.nan, math.inf, [1], dict()]
NO_POSITIVE = [0, -1, True, 'big', None, math.nan, math.inf, [1.0]]
NO_FLAG = [0, 1, None, 'no', [True]]
NO_SIZES = [0.5, 3, True, 'big', dict(), [], ['big'], [True], [math.nan]]
NO_DEPTHS = [0.5, 3.0, 'big', dict()]

PLAIN = dict(type='LinearClsHead', num_classes=4, in_channels=3)


def make_head(**options):
    return STClsHead(PLAIN, **options)


HOOK = {
    'num_subnets': [*NO_COUNT, None, 'most'],
    'space': [*NO_DEPTHS, 3],
    'min_depth': [*NO_DEPTHS, 0, -1, True],
    'strategy': [None, 3, 'best', ['raw']],
    'size_range': [*NO_SIZES, [0.5], [0.5, 2], [1.0, 0.5], [-1, 1]],
    'sizes': [*NO_SIZES, [0], [-0.5], [0.5, 64]],
    'num_sizes': [*NO_COUNT, 0],
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
        'by_epoch': NO_FLAG,
        'interval': [*NO_COUNT, 0],
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
        # Built by mmpretrain's registry, which has its own words.
        'loss_kl': [],
        'init_cfg': [],
    },
    SubnetInputs: {
        'transforms': ['crop', 3, None, ['zoom'], [3], [['crop']]],
        'chained': NO_FLAG,
    },
}
#: Options whose error names them otherwise.
NAMES = dict(transforms='input_transforms', chained='chain_inputs')
ROWS = [
    (part, option, value)
    for part, options in TABLE.items()
    for option, values in options.items()
    for value in values
]


@pytest.mark.parametrize(
    'part, option, value',
    ROWS,
    ids=[f'{part.__name__}-{name}-{value}' for part, name, value in ROWS],
)
def test_refused_by_name(part, option, value):
    with pytest.raises((ValueError, TypeError)) as caught:
        part(**{option: value})
    assert NAMES.get(option, option) in str(caught.value)
    # What is allowed, or what to do; not Python's own words.
    assert not re.search('object|NoneType|subscript', str(caught.value))


@pytest.mark.parametrize('part', list(TABLE))
def test_every_option_has_a_row(part):
    made = STClsHead if part is make_head else part
    options = set(inspect.signature(made).parameters) - {'head', 'options'}
    if made is SubnetSamplerHook:
        options |= set(inspect.signature(SubnetSampler).parameters) - {'seed'}
    assert set(TABLE[part]) == options


@pytest.mark.parametrize(
    'option, value',
    [
        ('update_running_stats', 'no'),
        ('chain_inputs', 1),
        ('input_transforms', 'crop'),
    ],
)
@pytest.mark.parametrize('kind', ['Epoch', 'Iter'])
def test_options_of_the_loops(tiny_runner, kind, option, value):
    name = 'max_epochs' if kind == 'Epoch' else 'max_iters'
    runner = tiny_runner(
        sampler=dict(),
        train_cfg={
            'type': f'mmst.ST{kind}BasedTrainLoop',
            name: 1,
            option: value,
        },
    )
    with pytest.raises(ValueError, match=option):
        runner.train()


def test_begin_beyond_the_end(tiny_runner):
    """Six iterations, two epochs."""
    for options in (dict(begin=2), dict(begin=6, by_epoch=False)):
        runner = tiny_runner(sampler=options)
        with pytest.raises(ValueError, match='begin=. is not before the end'):
            runner.train()
    tiny_runner(sampler=dict(begin=5, by_epoch=False)).train()


def test_two_samplers(tiny_runner):
    hook = dict(type='mmst.SubnetSamplerHook', num_subnets=2)
    with pytest.raises(ValueError, match='2 SubnetSamplerHooks.*keep one'):
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
