"""How well calibrated classifiers' scores are, and Eq. 12's bound.

Cross-entropy (CE) and expected calibration error (ECE) of each network and its
subnets on the validation set: of the softmax of raw logits, as in a plain
network; of the scores that the model predicts; and of logits
calibrated with one temperature, which is fitted on training images.
"""

import argparse
from typing import Dict, Optional, Sequence

from run_analysis import Measured, load_runner, run_analysis

from mmst.launch.command_line import add_networks, check_runs


def measure(parsed: argparse.Namespace) -> Measured:
    """Measure each network."""
    from mmst.analysis import score_quality

    check_runs(parsed.run)
    results: Dict[str, score_quality.ScoreReport] = {}
    for name, *files in parsed.run:
        runner = load_runner(parsed, *files)
        results[name] = score_quality.measure_scores(
            runner, parsed.num_samples, parsed.depths
        )
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
    return (
        score_quality.format_score_table(results),
        numbers,
        score_quality.draw_score_quality(results),
    )


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('score_quality', __doc__, add_networks, measure, args)


if __name__ == '__main__':
    main()
