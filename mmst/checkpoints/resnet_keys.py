"""Convert ResNet checkpoints of other projects to mmpretrain's keys.

Keys are renamed to torchvision's, which are mmpretrain's but for a prefix, and
compared with those of torchvision's network of that depth.
"""

import re
from functools import lru_cache
from typing import Dict, List, Optional, Tuple

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
    'released': r'features\.(\d+)\.(body\.\d|shortcut)\.',
    'torchvision': r'layer(\d+)\.(\d+)\.',
    'timm': r'layer(\d+)\.(\d+)\.',
}
# The released names of layers, and torchvision's.
_OUTSIDE_BLOCKS = {
    'features.0.0.': 'conv1.',
    'features.0.1.': 'bn1.',
    'classifier.0.': 'fc.',
}
_IN_BLOCK = {
    'body.0': 'conv1.',
    'body.1': 'bn1.',
    'body.3': 'conv2.',
    'body.4': 'bn2.',
    'body.6': 'conv3.',
    'body.7': 'bn3.',
    'shortcut': 'downsample.',
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
    for option, value, known in (
        ('layout', layout, LAYOUTS),
        ('depth', depth, RESNETS),
    ):
        if value is not None and value not in known:
            raise ValueError(
                f'{option}={value!r} is unknown; allowed are {list(known)} '
                f'(--{option})'
            )
    layout = layout or _find_layout(state_dict)
    fits = {
        each: _fit(state_dict, layout, each, backbone_only)
        for each in ([depth] if depth else RESNETS)
    }
    # The nearest one, if none fits.
    depth = min(fits, key=lambda each: sum(map(len, fits[each][1:])))
    keys, surplus, missing = fits[depth]
    if surplus or missing:
        raise ValueError(_explain(layout, depth, surplus, missing))
    return {
        _add_prefix(name): state_dict[key] if key else torch.tensor(0)
        for name, key in keys.items()
    }


def _find_layout(state_dict: StateDict) -> str:
    for layout, block in LAYOUTS.items():
        if any(re.match(block, key) for key in state_dict):
            return layout
    raise ValueError(
        f'The keys are in no known layout: {sorted(state_dict)[:5]}... Known '
        f'are {list(LAYOUTS)} (--layout)'
    )


def _fit(
    state_dict: StateDict, layout: str, depth: int, backbone_only: bool
) -> Tuple[Dict[str, str], List[str], List[str]]:
    """Compare keys with those of a ResNet.

    Returns:
        The source's key, by torchvision's name, or '' for a missing counter;
        surplus keys; missing ones, by torchvision's names.
    """
    sources = {key: key for key in state_dict}
    if layout == 'released':
        sources = _rename_released(state_dict, depth)
    known = _list_names(depth)
    keys = {
        name: sources.get(name, '')
        for name in known
        if not (backbone_only and name.startswith('fc.'))
    }
    surplus = sorted(key for name, key in sources.items() if name not in known)
    missing = [
        name
        for name, key in keys.items()
        if not key and not name.endswith('.num_batches_tracked')
    ]
    return keys, surplus, missing


@lru_cache(maxsize=None)
def _list_names(depth: int) -> Tuple[str, ...]:
    import torchvision  # no requirement of mmst's own

    with torch.device('meta'):
        network = getattr(torchvision.models, f'resnet{depth}')()
    return tuple(network.state_dict())


def _rename_released(state_dict: StateDict, depth: int) -> Dict[str, str]:
    """Map torchvision's names to keys; others get a name that no layer has."""
    blocks = [
        f'layer{stage}.{index}.'
        for stage, number in enumerate(RESNETS[depth][1], 1)
        for index in range(number)
    ]
    matches = {key: re.match(LAYOUTS['released'], key) for key in state_dict}
    # The first block's number depends on a max pool before it.
    first = min((int(m[1]) for m in matches.values() if m), default=0)

    def rename(key: str) -> str:
        match = matches[key]
        if match and match[2] in _IN_BLOCK:
            number = int(match[1]) - first
            if number < len(blocks):
                return (
                    blocks[number] + _IN_BLOCK[match[2]] + key[match.end() :]
                )
        for begin, name in _OUTSIDE_BLOCKS.items():
            if key.startswith(begin):
                return name + key[len(begin) :]
        return f'unknown {key}'

    return {rename(key): key for key in state_dict}


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
            + ', '.join(map(_add_prefix, missing))
        )
    if any(name.startswith('fc.') for name in missing):
        lines.append(
            'To convert a network without its classifier, use '
            '--backbone-only (backbone_only=True)'
        )
    return '\n'.join(lines)


def _add_prefix(name: str) -> str:
    return f'head.{name}' if name.startswith('fc.') else f'backbone.{name}'
