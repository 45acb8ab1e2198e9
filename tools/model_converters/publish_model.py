"""Make a checkpoint that others can use from that of a training run.

Optimizer, schedulers, message hub, config and, in a run with EMAHook, the raw
weights go; the weights that the run evaluated stay, on the CPU. OUT, such as
``resnet50_st.pth``, becomes ``resnet50_st-<hash>.pth``. The file loads with
``torch.load(weights_only=True)``, and where mmst is not installed: a backbone
of mmpretrain's in mmpretrain, and in mmdet, mmseg and mmpose by

    init_cfg=dict(type='Pretrained', checkpoint='FILE', prefix='backbone.')
"""

import argparse
from typing import Optional, Sequence

from mmst.checkpoints import (
    read_checkpoint,
    strip_checkpoint,
    write_checkpoint,
)


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='IN', help='checkpoint of a run')
    parser.add_argument(
        'out', metavar='OUT', help='the file to write, without the hash'
    )
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    parsed = parse_args(args)
    published = strip_checkpoint(read_checkpoint(parsed.source))
    out = write_checkpoint(published, parsed.out, name_with_hash=True)
    print(f'Published {out}')


if __name__ == '__main__':
    main()
