"""Convert ResNet checkpoints of other projects to mmpretrain's keys.

A layout is described by its name for each layer of mmpretrain's ``ResNet``.
The layers follow from the depth, so both missing and surplus keys are found.
"""

import re
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

import torch
from torch import Tensor

from .checkpoint_file import StateDict

#: Depth -> convolutions per block, blocks in each stage.
RESNETS: Dict[int, Tuple[int, Tuple[int, ...]]] = {
    18: (2, (2, 2, 2, 2)),
    34: (2, (3, 4, 6, 3)),
    50: (3, (3, 4, 6, 3)),
    101: (3, (3, 4, 23, 3)),
    152: (3, (3, 8, 36, 3)),
}
#: Layout -> how the keys of a block begin, and those of its third
#: convolution, if it has one. timm uses torchvision's names.
LAYOUTS: Dict[str, Tuple[str, str]] = {
    'released': (r'features\.(\d+)\.body\.', r'features\.\d+\.body\.6\.'),
    'torchvision': (r'layer(\d+)\.(\d+)\.', r'layer\d+\.\d+\.conv3\.'),
    'timm': (r'layer(\d+)\.(\d+)\.', r'layer\d+\.\d+\.conv3\.'),
}
TENSORS = dict(
    conv=('weight',),
    bn=(
        'weight',
        'bias',
        'running_mean',
        'running_var',
        'num_batches_tracked',
    ),
    fc=('weight', 'bias'),
)
COUNTER = '.num_batches_tracked'


def convert_resnet(
    state_dict: StateDict,
    layout: Optional[str] = None,
    depth: Optional[int] = None,
    backbone_only: bool = False,
) -> StateDict:
    """Rename the weights of a ResNet to mmpretrain's ``ImageClassifier``.

    Backbone keys always get the prefix ``backbone.``, so
    ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``
    works for a whole classifier and for a backbone alone.

    Missing batch counters (``num_batches_tracked``), as in files from before
    torch 0.4.1, start at 0.

    Args:
        state_dict: Weights with the source's keys.
        layout: 'released' (the authors' own), 'torchvision' or 'timm'.
            Default: found from the keys.
        depth: One of ``RESNETS``. Default: found from the keys.
        backbone_only: Whether to leave out the classifier, if there is one.

    Returns:
        The same tensors with mmpretrain's keys.

    Raises:
        ValueError: If the layout or the depth is unknown, or keys do not fit.

    Example:
        >>> from torchvision.models import resnet18
        >>> list(convert_resnet(resnet18().state_dict()))[:2]
        ['backbone.conv1.weight', 'backbone.bn1.weight']
    """
    layout = _check_layout(layout, state_dict)
    depth = _check_depth(depth, layout, state_dict)
    targets = dict(_iter_target_keys(layout, depth, state_dict))
    given, head = set(state_dict), _list_head_keys(targets)
    left_over = sorted(given - set(targets))
    missing = sorted(
        key
        for key in set(targets) - given
        if not key.endswith(COUNTER) and not (backbone_only and key in head)
    )
    if left_over or missing:
        raise ValueError(_explain(layout, depth, left_over, missing))
    return {
        target: state_dict[key] if key in given else torch.tensor(0)
        for key, target in targets.items()
        if not (backbone_only and key in head)
    }


def _iter_layers(depth: int) -> Iterator[Tuple[str, int]]:
    """Yield each layer's name in mmpretrain, and the index of its block."""
    num_convs, num_blocks = RESNETS[depth]
    yield from (('conv1', -1), ('bn1', -1))
    number = 0
    for stage, blocks in enumerate(num_blocks, 1):
        for index in range(blocks):
            block = f'layer{stage}.{index}'
            for conv in range(1, num_convs + 1):
                yield f'{block}.conv{conv}', number
                yield f'{block}.bn{conv}', number
            # The first stage of basic blocks keeps the stem's shape.
            if index == 0 and (num_convs == 3 or stage > 1):
                yield f'{block}.downsample.0', number
                yield f'{block}.downsample.1', number
            number += 1
    yield 'fc', -1


def _iter_target_keys(
    layout: str, depth: int, keys: Iterable[str]
) -> Iterator[Tuple[str, str]]:
    """Yield the source's key and mmpretrain's key of each tensor."""
    first = _find_first_block(keys) if layout == 'released' else 0
    for name, number in _iter_layers(depth):
        source = name
        if layout == 'released':
            source = _make_released_name(name, first + number)
        target = 'head.fc' if name == 'fc' else f'backbone.{name}'
        for tensor in TENSORS[_get_kind(name)]:
            yield f'{source}.{tensor}', f'{target}.{tensor}'


def _get_kind(name: str) -> str:
    """Return 'conv', 'bn' or 'fc', given mmpretrain's name of a layer."""
    name = name.replace('downsample.0', 'conv').replace('downsample.1', 'bn')
    return name.split('.')[-1].rstrip('123')


def _make_released_name(name: str, entry: int) -> str:
    """Make the released code's name of a layer.

    Args:
        name: Its name in mmpretrain.
        entry: Index of its block in ``features``.
    """
    stem = {
        'conv1': 'features.0.0',
        'bn1': 'features.0.1',
        'fc': 'classifier.0',
    }
    if name in stem:
        return stem[name]
    name = name.split('.', 2)[2]
    if name.startswith('downsample'):
        return f'features.{entry}.{name.replace("downsample", "shortcut")}'
    # Convolution, norm, activation; convolution, norm, activation; ...
    position = 3 * (int(name[-1]) - 1) + name.startswith('bn')
    return f'features.{entry}.body.{position}'


def _find_first_block(keys: Iterable[str]) -> int:
    """Find the first block's index, which depends on a max pool before it."""
    matches = (re.match(LAYOUTS['released'][0], key) for key in keys)
    return min((int(match[1]) for match in matches if match), default=1)


def _list_head_keys(targets: Dict[str, str]) -> List[str]:
    return [
        key for key, target in targets.items() if target.startswith('head.')
    ]


def _check_layout(layout: Optional[str], state_dict: Dict[str, Tensor]) -> str:
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(
            f"layout='{layout}' is unknown; allowed are {list(LAYOUTS)} "
            '(--layout)'
        )
    for name, (block, _) in LAYOUTS.items():
        if layout is None and any(re.match(block, key) for key in state_dict):
            return name
    if layout is None:
        raise ValueError(
            'The keys are in no known layout: '
            f'{sorted(state_dict)[:5]}... Known are {list(LAYOUTS)} '
            '(--layout)'
        )
    return layout


def _check_depth(
    depth: Optional[int], layout: str, state_dict: Dict[str, Tensor]
) -> int:
    if depth is not None:
        if depth not in RESNETS:
            raise ValueError(
                f'depth={depth} is unknown; allowed are '
                f'{list(RESNETS)} (--depth)'
            )
        return depth
    block, third = LAYOUTS[layout]
    found = {
        match.groups()
        for match in (re.match(block, key) for key in state_dict)
        if match
    }
    num_convs = 3 if any(re.match(third, key) for key in state_dict) else 2
    for known, (convs, num_blocks) in RESNETS.items():
        if (convs, sum(num_blocks)) == (num_convs, len(found)):
            return known
    raise ValueError(
        f'{len(found)} blocks of {num_convs} convolutions are no ResNet of '
        f'{list(RESNETS)} layers in the {layout} layout. Set the depth '
        '(--depth) to see which keys are surplus or missing'
    )


def _explain(
    layout: str, depth: int, left_over: List[str], missing: List[str]
) -> str:
    lines = [
        f'The keys are not those of a ResNet-{depth} in the {layout} '
        'layout (set others with --depth and --layout):'
    ]
    if left_over:
        lines.append(f'surplus, {len(left_over)}: {", ".join(left_over)}')
    if missing:
        lines.append(f'missing, {len(missing)}: {", ".join(missing)}')
    if any(key.startswith(('fc.', 'classifier.')) for key in missing):
        lines.append(
            'To convert a network without its classifier, use '
            '--backbone-only (backbone_only=True)'
        )
    return '\n'.join(lines)
