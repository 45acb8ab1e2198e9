"""Convert ResNet checkpoints of other projects to mmpretrain's keys.

Each key of torchvision's network, which is mmpretrain's but for a prefix, is
looked up by its name in the source's layout; none may be missing or left over.
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
# torchvision's names of layers, and the released ones.
_OUTSIDE_BLOCKS = dict(
    conv1='features.0.0', bn1='features.0.1', fc='classifier.0'
)
_IN_BLOCK = dict(
    conv1='body.0',
    bn1='body.1',
    conv2='body.3',
    bn2='body.4',
    conv3='body.6',
    bn3='body.7',
    downsample='shortcut',
)


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
    found = [
        name
        for name, block in LAYOUTS.items()
        if any(re.match(block, key) for key in state_dict)
    ]
    if layout is None and not found:
        raise ValueError(
            f'The keys are in no known layout: {sorted(state_dict)[:5]}... '
            f'Known are {list(LAYOUTS)} (--layout)'
        )
    layout = layout or found[0]
    fits = {
        each: _compare(state_dict, layout, each, backbone_only)
        for each in ([depth] if depth else RESNETS)
    }
    # The nearest one, if none fits.
    depth = min(fits, key=lambda each: sum(map(len, fits[each][1:])))
    keys, surplus, missing = fits[depth]
    if surplus or missing:
        raise ValueError(
            f'The keys are not those of a ResNet-{depth} in the {layout} '
            'layout (set others with --depth and --layout, and '
            '--backbone-only for a file without a classifier):\n'
            f'surplus, {len(surplus)}: {", ".join(surplus)}\n'
            f"missing, {len(missing)}, by mmpretrain's names: "
            + ', '.join(missing)
        )
    return {
        name: state_dict.get(key, torch.tensor(0))
        for name, key in keys.items()
    }


def _compare(
    state_dict: StateDict, layout: str, depth: int, backbone_only: bool
) -> Tuple[Dict[str, str], List[str], List[str]]:
    """Compare keys with those of a ResNet.

    Returns:
        The layout's key by mmpretrain's; surplus keys; missing ones, by
        mmpretrain's names.
    """
    keys = {name: name for name in _list_names(depth)}
    if layout == 'released':
        # The first block's number depends on a max pool before it.
        matches = (re.match(LAYOUTS[layout], key) for key in state_dict)
        first = min((int(match[1]) for match in matches if match), default=0)
        numbers: Dict[str, int] = {}
        for name in keys:
            parts = name.split('.')
            if parts[0] in _OUTSIDE_BLOCKS:
                parts[0] = _OUTSIDE_BLOCKS[parts[0]]
            else:
                block = '.'.join(parts[:2])
                number = numbers.setdefault(block, first + len(numbers))
                parts[:3] = [f'features.{number}', _IN_BLOCK[parts[2]]]
            keys[name] = '.'.join(parts)
    surplus = sorted(state_dict.keys() - keys.values())
    keys = {
        ('head.' if name.startswith('fc.') else 'backbone.') + name: key
        for name, key in keys.items()
        if not (backbone_only and name.startswith('fc.'))
    }
    missing = [
        name
        for name, key in keys.items()
        if key not in state_dict and not name.endswith('.num_batches_tracked')
    ]
    return keys, surplus, missing


@lru_cache(maxsize=None)
def _list_names(depth: int) -> Tuple[str, ...]:
    """List the keys of torchvision's ResNet of this depth, layer by layer."""
    import torchvision  # no requirement of mmst's own

    with torch.device('meta'):
        network = getattr(torchvision.models, f'resnet{depth}')()
    return tuple(network.state_dict())
