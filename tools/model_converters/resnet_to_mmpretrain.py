"""Convert a ResNet checkpoint of another project to mmpretrain's keys.

Sources are the checkpoints that the paper's authors released, torchvision's
ResNets, and timm's ``resnet50`` and similar ones. The file is read without
executing code, all its keys must be known, and OUT appears only once it is
complete. A whole classifier can be tested with ``tools/test.py``. To start
another network from the backbone of either kind of file:

    init_cfg=dict(type='Pretrained', checkpoint='OUT', prefix='backbone.')
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from mmst.launch.short_errors import print_short_error


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='IN', help='checkpoint to convert')
    parser.add_argument('out', metavar='OUT', help='output file')
    parser.add_argument(
        '--layout',
        help="names of the keys: 'released' (the authors' checkpoints), "
        "'torchvision' or 'timm'; default: detected from the keys",
    )
    parser.add_argument(
        '--depth',
        type=int,
        help='number of layers, 18 to 152; default: detected from the keys',
    )
    parser.add_argument(
        '--entry',
        help='entry with the weights, if the file has several, such as '
        'state_dict_ema',
    )
    parser.add_argument(
        '--backbone-only', action='store_true', help='leave out the classifier'
    )
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    parsed = parse_args(args)

    # Seconds of imports, which --help does without.
    from mmst.checkpoints import (
        convert_resnet,
        read_checkpoint,
        select_state_dict,
        write_checkpoint,
    )

    if Path(parsed.source).resolve() == Path(parsed.out).resolve():
        raise ValueError(
            f'OUT would overwrite IN, {parsed.source}: choose another OUT'
        )
    source = select_state_dict(read_checkpoint(parsed.source), parsed.entry)
    converted = convert_resnet(
        source, parsed.layout, parsed.depth, parsed.backbone_only
    )
    out = write_checkpoint(dict(state_dict=converted, meta={}), parsed.out)
    print(f'Wrote {len(converted)} tensors, from {len(source)}, to {out}')


if __name__ == '__main__':
    sys.excepthook = print_short_error
    main()
