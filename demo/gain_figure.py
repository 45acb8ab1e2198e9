"""Draw what ``demo/classification.py`` measured: the cure and the gain.

Left, the accuracy of subnets alone; right, what each method adds to the main
network of common training, seed by seed.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence

from mmst.analysis.plots import (
    choose_line_style,
    draw_scores,
    label_networks,
)
from mmst.analysis.scores import (
    MAIN,
    Scores,
    compute_mean_and_interval,
    sort_networks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINE = 'CT'
#: Methods whose subnets are drawn.
CURED = ('CT', 'ST', 'ST++')
#: Methods whose gain is drawn, with their labels: the paper's components, one
#: after the other (Table 3).
GAINING = {
    'ST': 'ST (1 subnet, plain KL)',
    'ST + SITrans': 'ST, smaller inputs',
    'ST + KL- (l2)': 'ST, KL- (l2)',
    'ST + KL-': 'ST, KL-',
    'ST + KL- + Snet3': 'ST, KL-, 3 subnets',
    'ST++': 'ST++ (smaller inputs too)',
    'ST++ + InterSSR': 'ST++, 2 blocks at least',
}


def compute_gains(
    results: Dict[str, List[Scores]], method: str
) -> List[float]:
    """Compute a method's gain over common training, seed by seed.

    Args:
        results: For each method, the scores of each seed, in the same order.
        method: One of them.

    Returns:
        list: In percentage points.
    """
    return [
        ours[MAIN] - ct[MAIN]
        for ours, ct in zip(results[method], results[BASELINE])
    ]


def draw_gains(axes: 'Axes', results: Dict[str, List[Scores]]) -> None:
    """Draw mean, 95 % interval and every seed of each method's gain.

    Args:
        axes: Where to draw.
        results: See :func:`compute_gains`.
    """
    style = dict(choose_line_style(2), linestyle='none')
    axes.axvline(0, color='black', linewidth=1)
    for y, method in enumerate(GAINING):
        gains = compute_gains(results, method)
        mean, half = compute_mean_and_interval(gains)
        axes.errorbar([mean], [y], xerr=[half], capsize=3, **style)
        # Below the interval, so that neither hides the other.
        axes.plot(gains, [y + 0.25] * len(gains), '.', color='0.6')
    axes.set_yticks(range(len(GAINING)), list(GAINING.values()))
    axes.invert_yaxis()
    axes.grid(axis='x', alpha=0.3)
    axes.set_xlabel(f'points of top-1 over {BASELINE}; grey: single seeds')
    axes.set_title('The gain: the main network')


def draw_cure_and_gain(results: Dict[str, List[Scores]]) -> 'Figure':
    """Draw both panels.

    Args:
        results: See :func:`compute_gains`.
    """
    # Imported here, so that --help works without matplotlib.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout='constrained')
    left, right = figure.subplots(1, 2)
    cured = {method: results[method] for method in CURED}
    networks = [name for name in sort_networks(cured) if name != MAIN]
    draw_scores(left, cured, networks)
    label_networks(left, networks)
    left.set_xlabel('blocks kept in each stage')
    left.set_ylabel('top-1 (%)')
    left.set_title('The cure: subnets alone')
    left.legend(loc='lower right')
    draw_gains(right, results)
    return figure


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('scores', type=Path, help='demo.json of a demo run')
    parser.add_argument('picture', type=Path, help='output file (PNG)')
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Read the scores and write the picture."""
    parsed = parse_args(args)
    results = json.loads(parsed.scores.read_text())['results']
    draw_cure_and_gain(results).savefig(parsed.picture, dpi=130)


if __name__ == '__main__':
    main()
