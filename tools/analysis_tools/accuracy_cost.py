"""Accuracy of a trained network's subnets against what they cost.

One training, many depths and sizes of images: FLOPs, parameters and time of
each subnet as tools/export_subnet.py exports it, which can choose from what
this writes.
"""

import argparse
from typing import List, Optional, Sequence

from run_analysis import (
    Measured,
    add_metric_and_rule,
    load_runner,
    run_analysis,
)

from mmst.launch.command_line import (
    add_cfg_options,
    add_checkpoint,
    add_num_samples,
    add_subnets,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tool's flags."""
    add_checkpoint(parser)
    add_subnets(parser, default="those of the config's sampling space")
    parser.add_argument(
        '--max-subnets',
        type=int,
        default=32,
        metavar='N',
        help='evaluate at most N subnets of the space, at each size; default: '
        '%(default)s',
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=int,
        default=[],
        metavar='PX',
        help='evaluate smaller images too: shorter side of the validation '
        'images, beside that of the config',
    )
    add_metric_and_rule(parser)
    add_num_samples(parser)
    parser.add_argument(
        '--seconds',
        type=float,
        default=2.0,
        metavar='S',
        help='seconds to time each subnet; the shortest time counts; '
        'default: %(default)s',
    )
    add_cfg_options(parser)


def measure(parsed: argparse.Namespace) -> Measured:
    """Measure all networks at all sizes."""
    import torch

    from mmst.analysis import accuracy_cost
    from mmst.analysis.results import choose_rule, label_metric
    from mmst.evaluation import shrink_pipelines
    from mmst.launch.configured_training import find_trained_space
    from mmst.launch.toolbox import read_config

    cfg = read_config(parsed.config, parsed.cfg_options)
    metric, subnets = parsed.metric, parsed.depths
    networks: List[accuracy_cost.MeasuredNetwork] = []
    # Refuse a size now, not after an hour.
    changes = {size: shrink_pipelines(cfg, size) for size in parsed.sizes}
    for size, options in [(None, {}), *changes.items()]:
        runner = load_runner(
            parsed, parsed.config, parsed.checkpoint, **options
        )
        if subnets is None:
            space = find_trained_space(cfg, runner.model)
            subnets = accuracy_cost.choose_candidates(
                runner, space, parsed.max_subnets
            )
        metric, found = accuracy_cost.measure_family(
            runner, subnets, metric, parsed.num_samples, parsed.seconds
        )
        networks += [network._replace(size=size) for network in found]
    rule = choose_rule(metric, cfg, parsed.rule)
    label = label_metric(metric, rule)
    device = next(runner.model.parameters()).device.type
    threads = torch.get_num_threads()
    table = accuracy_cost.format_family_table(networks, label, rule)
    return (
        f'Time on {device}, {threads} threads\n{table}',
        dict(
            metric=metric,
            rule=rule,
            device=device,
            threads=threads,
            networks=[network._asdict() for network in networks],
        ),
        accuracy_cost.draw_family(networks, label, rule),
    )


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('accuracy_cost', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
