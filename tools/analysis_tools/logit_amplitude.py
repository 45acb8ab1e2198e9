"""Mean L2 norm of classifiers' logits, with their accuracy (Fig. 4).

For each network and its subnets, on the validation set.
"""

import argparse
from typing import Dict, Optional, Sequence

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
    from mmst.analysis import logit_amplitude

    check_runs(parsed.run)
    results: Dict[str, logit_amplitude.Amplitudes] = {}
    for name, config, checkpoint in parsed.run:
        run = logit_amplitude.measure_amplitudes(
            load_runner(parsed, config, checkpoint),
            parsed.metric,
            parsed.num_samples,
            parsed.depths,
        )
        rule = read_rule(parsed, run.metric, config)
        results[name] = run._replace(rule=rule)
    return (
        logit_amplitude.format_amplitude_table(results),
        {name: run._asdict() for name, run in results.items()},
        logit_amplitude.draw_amplitudes(results),
    )


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('logit_amplitude', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
