"""Turn the checkpoint of a training run into one that others can use.

Optimizer, schedulers, message hub, config and, in a run with EMAHook, the raw
weights are removed; the weights that the run evaluated stay, on the CPU. OUT,
such as ``resnet50_st.pth``, becomes ``resnet50_st-<hash>.pth``. The file loads
with ``torch.load(weights_only=True)`` and without mmst: a backbone of
mmpretrain in mmpretrain, and in mmdet, mmseg and mmpose by

    init_cfg=dict(type='Pretrained', checkpoint='FILE', prefix='backbone.')

With --calibrate a temperature is fitted on training images and put into the
last layer of a classifier: predictions stay the same, scores are calibrated
wherever the file is loaded. A network trained through normalised logits needs
it without STClsHead.
"""

import argparse
import sys
from tempfile import TemporaryDirectory
from typing import Any, Dict, Optional, Sequence

from mmst.launch.command_line import add_cfg_options
from mmst.launch.short_errors import print_short_error


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='IN', help='checkpoint of a run')
    parser.add_argument(
        'out', metavar='OUT', help='output file, without the hash'
    )
    parser.add_argument(
        '--calibrate',
        metavar='CONFIG',
        help='calibrate scores on the training images of this config',
    )
    parser.add_argument(
        '--num-samples',
        type=int,
        default=2000,
        help='with --calibrate: training images to fit the temperature on',
    )
    add_cfg_options(parser)
    return parser.parse_args(args)


def calibrate(parsed: argparse.Namespace) -> Dict[str, Any]:
    """Calibrate the weights: put a temperature into the last layer."""
    from mmst.evaluation import bake_temperature
    from mmst.launch.trained_runner import load_trained_runner

    with TemporaryDirectory() as log_dir:
        runner = load_trained_runner(
            parsed.calibrate, parsed.source, log_dir, parsed.cfg_options
        )
        with bake_temperature(runner, parsed.num_samples) as temperature:
            print(f'Put temperature {temperature:.4g} into the last layer')
            return {
                key: value.clone()
                for key, value in runner.model.state_dict().items()
            }


def main(args: Optional[Sequence[str]] = None) -> None:
    parsed = parse_args(args)

    # Seconds of imports, which --help does without.
    from mmst.checkpoints import (
        read_checkpoint,
        strip_checkpoint,
        write_checkpoint,
    )

    checkpoint = read_checkpoint(parsed.source)
    if parsed.calibrate is not None:
        checkpoint['state_dict'] = calibrate(parsed)
    published = strip_checkpoint(checkpoint)
    out = write_checkpoint(published, parsed.out, name_with_hash=True)
    print(f'Published {out}')


if __name__ == '__main__':
    sys.excepthook = print_short_error
    main()
