# Copyright (c) mmst contributors. Licensed under the Apache License 2.0.
"""Score a trained network and its subnets: the loafing gap and its cure."""
import argparse
import json
from pathlib import Path

from mmengine.config import DictAction

from mmst.analysis import trained_runner
from mmst.analysis.loafing import (loafing_table, measure_loafing,
                                   plot_loafing)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--run',
        nargs=3,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a trained network; give it several times to compare')
    parser.add_argument('--out', default='work_dirs/loafing', type=Path)
    parser.add_argument('--metric', default='accuracy/top1')
    parser.add_argument(
        '--num-samples', type=int, default=2000,
        help="training images for each subnet's BatchNorm statistics")
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def main() -> None:
    """Score each network, print a table, write it as JSON and PNG."""
    args = parse_args()
    results = {}
    for name, config, checkpoint in args.run:
        runner = trained_runner(config, checkpoint, args.out,
                                args.cfg_options)
        results.setdefault(name, []).append(
            measure_loafing(runner, args.metric, args.num_samples))
    print(loafing_table(results))
    (args.out / 'loafing.json').write_text(json.dumps(results, indent=1))
    plot_loafing(results, args.metric, str(args.out / 'loafing.png'))
    print(f'Written to {args.out}/loafing.json and {args.out}/loafing.png')


if __name__ == '__main__':
    main()
