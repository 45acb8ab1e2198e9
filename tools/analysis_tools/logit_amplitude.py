"""Mean L2 norm of classifiers' logits, with their accuracy (Fig. 4).

For each network and its subnets, on the validation set.
"""

import argparse
from typing import Optional, Sequence

from mmst.analysis.logit_amplitude import (
    Results,
    format_amplitude_table,
    measure_amplitudes,
)
from mmst.analysis.logit_amplitude_figure import draw_amplitudes
from mmst.analysis.results import write_results
from mmst.launch.command_line import (
    add_metric,
    add_networks,
    add_out,
    check_runs,
)
from mmst.launch.trained_runner import load_trained_runner


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_networks(parser)
    add_out(parser, 'logit_amplitude')
    add_metric(parser)
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
    print(format_amplitude_table(results))
    write_results(
        parsed.out,
        'logit_amplitude',
        {name: run._asdict() for name, run in results.items()},
        draw_amplitudes(results),
    )


if __name__ == '__main__':
    main()
