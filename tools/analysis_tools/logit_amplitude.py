"""Mean L2 norm of classifiers' logits, with their accuracy (Fig. 4).

For each network and its subnets, on the validation set.
"""

import argparse
from typing import Optional, Sequence

from run_analysis import (
    Measured,
    add_metric_and_rule,
    load_runner,
    read_rule,
    run_analysis,
)

from mmst.launch.command_line import add_networks, check_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tool's flags."""
    add_networks(parser)
    add_metric_and_rule(parser)


def measure(parsed: argparse.Namespace) -> Measured:
    """Measure each network."""
    from mmst.analysis.logit_amplitude import (
        Results,
        draw_amplitudes,
        format_amplitude_table,
        measure_amplitudes,
    )

    check_runs(parsed.run)
    results: Results = {}
    for name, config, checkpoint in parsed.run:
        run = measure_amplitudes(
            load_runner(parsed, config, checkpoint),
            parsed.metric,
            parsed.num_samples,
            parsed.depths,
        )
        rule = read_rule(parsed, run.metric, config)
        results[name] = run._replace(rule=rule)
    numbers = {name: run._asdict() for name, run in results.items()}
    return format_amplitude_table(results), numbers, draw_amplitudes(results)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('logit_amplitude', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
