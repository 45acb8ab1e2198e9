"""How well calibrated classifiers' scores are, and Eq. 12's bound.

Cross-entropy (CE) and expected calibration error (ECE) of each network and its
subnets on the validation set: of the softmax of raw logits, as in a plain
network; of the scores that the model predicts; and of logits
calibrated with one temperature, which is fitted on training images.
"""

import argparse
from typing import Optional, Sequence

from mmst.analysis.results import write_results
from mmst.analysis.score_quality import (
    Results,
    format_score_table,
    measure_scores,
)
from mmst.analysis.score_quality_figure import draw_score_quality
from mmst.launch.command_line import add_networks, add_out, check_runs
from mmst.launch.trained_runner import load_trained_runner


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_networks(parser)
    add_out(parser, 'score_quality')
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Measure each network, print tables, write them as JSON and PNG."""
    parsed = parse_args(args)
    check_runs(parsed.run)
    results: Results = {}
    for name, config, checkpoint in parsed.run:
        runner = load_trained_runner(
            config, checkpoint, parsed.out, parsed.cfg_options
        )
        results[name] = measure_scores(
            runner, parsed.num_samples, parsed.depths
        )
    print(format_score_table(results))
    numbers = {
        run: dict(
            networks={
                name: network._asdict()
                for name, network in report.networks.items()
            },
            bound=report.bound and report.bound._asdict(),
        )
        for run, report in results.items()
    }
    write_results(
        parsed.out, 'score_quality', numbers, draw_score_quality(results)
    )


if __name__ == '__main__':
    main()
