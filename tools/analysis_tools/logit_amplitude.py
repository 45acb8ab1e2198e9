"""Mean L2 norm of classifiers' logits, with their accuracy (Fig. 4).

Of each network and its subnets, over the validation set.
"""

import argparse
from typing import Optional, Sequence

from mmst.analysis.command_line import add_network_arguments, check_runs
from mmst.analysis.logit_amplitude import (
    Results,
    amplitude_table,
    draw_amplitudes,
    measure_amplitudes,
)
from mmst.analysis.results import write_results
from mmst.launch.trained_runner import load_trained_runner


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_network_arguments(parser, 'logit_amplitude')
    parser.add_argument(
        '--metric', help='default: the usual one of the task, accuracy/top1'
    )
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Measure each network, print a table, write it as JSON and PNG."""
    parsed = parse_args(args)
    check_runs(parsed.run)
    results: Results = {}
    for name, config, checkpoint in parsed.run:
        runner = load_trained_runner(
            config, checkpoint, parsed.out, parsed.cfg_options
        )
        results[name] = measure_amplitudes(
            runner, parsed.metric, parsed.num_samples, parsed.depths
        )
    print(amplitude_table(results))
    write_results(
        parsed.out,
        'logit_amplitude',
        {name: run._asdict() for name, run in results.items()},
        draw_amplitudes(results),
    )


if __name__ == '__main__':
    main()
