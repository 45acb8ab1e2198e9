"""Convert ResNet checkpoints of other projects to mmpretrain's keys.

Keys are renamed to torchvision's, which are mmpretrain's but for a prefix, and
compared with those of torchvision's network of that depth.
"""

import re
from typing import Dict, Iterable, List, Optional, Tuple

import torch

from .checkpoint_file import StateDict

#: Depth -> convolutions per block, blocks in each stage.
RESNETS: Dict[int, Tuple[int, Tuple[int, ...]]] = {
    18: (2, (2, 2, 2, 2)),
    34: (2, (3, 4, 6, 3)),
    50: (3, (3, 4, 6, 3)),
    101: (3, (3, 4, 23, 3)),
    152: (3, (3, 8, 36, 3)),
}
#: Layout -> how the keys of a block begin. timm uses torchvision's names.
LAYOUTS: Dict[str, str] = {
    'released': r'features\.(\d+)\.body\.',
    'torchvision': r'layer(\d+)\.(\d+)\.',
    'timm': r'layer(\d+)\.(\d+)\.',
}
# The released names as regular expressions, with the block's number among all
# as a group, and torchvision's, behind those of stage and block.
_RELEASED = {
    r'features\.0\.0\.': 'conv1.',
    r'features\.0\.1\.': 'bn1.',
    r'classifier\.0\.': 'fc.',
    r'features\.(\d+)\.shortcut\.': 'downsample.',
    r'features\.(\d+)\.body\.0\.': 'conv1.',
    r'features\.(\d+)\.body\.1\.': 'bn1.',
    r'features\.(\d+)\.body\.3\.': 'conv2.',
    r'features\.(\d+)\.body\.4\.': 'bn2.',
    r'features\.(\d+)\.body\.6\.': 'conv3.',
    r'features\.(\d+)\.body\.7\.': 'bn3.',
}


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
    import torchvision  # no requirement of mmst's own

    layout = _check_layout(layout, state_dict)
    depth = _check_depth(depth, layout, state_dict)
    sources = {
        _rename(key, layout, depth, _find_first_block(state_dict)): key
        for key in state_dict
    }
    with torch.device('meta'):
        network = getattr(torchvision.models, f'resnet{depth}')()
    wanted = [
        name
        for name in network.state_dict()
        if not (backbone_only and name.startswith('fc.'))
    ]
    surplus = sorted(
        key
        for name, key in sources.items()
        if name not in network.state_dict()
    )
    missing = [
        _add_prefix(name)
        for name in wanted
        if name not in sources and not name.endswith('.num_batches_tracked')
    ]
    if surplus or missing:
        raise ValueError(_explain(layout, depth, surplus, missing))
    return {
        _add_prefix(name): state_dict[sources[name]]
        if name in sources
        else torch.tensor(0)
        for name in wanted
    }


def _add_prefix(name: str) -> str:
    return f'head.{name}' if name.startswith('fc.') else f'backbone.{name}'


def _rename(key: str, layout: str, depth: int, first: int) -> str:
    """Give torchvision's name for a key, or one that no layer has.

    Args:
        key: The key.
        layout: Its layout.
        depth: The network's depth.
        first: Number of the first block, in the released layout.
    """
    if layout != 'released':
        return key
    for pattern, name in _RELEASED.items():
        match = re.match(pattern, key)
        if match is None:
            continue
        if match.groups():
            places = [
                f'layer{stage}.{index}.'
                for stage, blocks in enumerate(RESNETS[depth][1], 1)
                for index in range(blocks)
            ]
            number = int(match[1]) - first
            if number >= len(places):
                break
            name = places[number] + name
        return name + key[match.end() :]
    return f'unknown {key}'


def _find_first_block(keys: Iterable[str]) -> int:
    """Find the first block's number, which depends on a max pool before it."""
    matches = (re.match(LAYOUTS['released'], key) for key in keys)
    return min((int(match[1]) for match in matches if match), default=1)


def _check_layout(layout: Optional[str], state_dict: StateDict) -> str:
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(
            f"layout='{layout}' is unknown; allowed are {list(LAYOUTS)} "
            '(--layout)'
        )
    for name, block in LAYOUTS.items():
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
    depth: Optional[int], layout: str, state_dict: StateDict
) -> int:
    if depth is not None:
        if depth not in RESNETS:
            raise ValueError(
                f'depth={depth} is unknown; allowed are '
                f'{list(RESNETS)} (--depth)'
            )
        return depth
    matches = [re.match(LAYOUTS[layout], key) for key in state_dict]
    num_blocks = len({match.groups() for match in matches if match})
    third = r'features\.\d+\.body\.6\.|layer\d+\.\d+\.conv3\.'
    num_convs = 3 if any(re.match(third, key) for key in state_dict) else 2
    for known, (convs, blocks) in RESNETS.items():
        if (convs, sum(blocks)) == (num_convs, num_blocks):
            return known
    raise ValueError(
        f'{num_blocks} blocks of {num_convs} convolutions are no ResNet of '
        f'{list(RESNETS)} layers in the {layout} layout. Set the depth '
        '(--depth) to see which keys are surplus or missing'
    )


def _explain(
    layout: str, depth: int, surplus: List[str], missing: List[str]
) -> str:
    lines = [
        f'The keys are not those of a ResNet-{depth} in the {layout} '
        'layout (set others with --depth and --layout):'
    ]
    if surplus:
        lines.append(f'surplus, {len(surplus)}: {", ".join(surplus)}')
    if missing:
        lines.append(
            f"missing, {len(missing)}, by mmpretrain's names: "
            + ', '.join(missing)
        )
    if any(name.startswith('head.') for name in missing):
        lines.append(
            'To convert a network without its classifier, use '
            '--backbone-only (backbone_only=True)'
        )
    return '\n'.join(lines)
