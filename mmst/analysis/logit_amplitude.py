"""Amplitude of logits of networks of different depth (Fig. 4).

Networks of different capacity have logits of different length. A subnet that
learns from the main network's logits has to copy that length too; KL- removes
it from the comparison.
"""

from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Sequence

import torch
from mmengine.runner import Runner

from mmst.evaluation import get_validation_loader, run_as_subnet
from mmst.evaluation.logits import compute_logits
from mmst.subnets import unwrap_model

from .plots import draw_score_panels
from .results import (
    GREATER,
    choose_digits,
    choose_metric,
    format_table,
    label_metric,
    show_progress,
)
from .scores import MAIN, Scores, list_networks, name_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AMPLITUDE = 'mean L2 norm of logits'


class Amplitudes(NamedTuple):
    """Logit amplitudes of one run.

    Attributes:
        metric: Name of the scores' metric in the evaluator's output.
        scores: Score of each network.
        amplitudes: Mean L2 norm of each network's logits.
        rule: Whether the better score is the 'greater' or the 'less'.
    """

    metric: str
    scores: Scores
    amplitudes: Scores
    rule: str = GREATER


def measure_amplitudes(
    runner: Runner,
    metric: Optional[str] = None,
    num_samples: int = 2000,
    subnets: Optional[Sequence[Sequence[int]]] = None,
) -> Amplitudes:
    """Measure the mean L2 norm of logits on the validation set, and the score.

    Args:
        runner: A runner of a classifier with its weights loaded.
        metric: The metric to read. Default: the usual one of the task.
        num_samples: Training images to re-estimate BatchNorm statistics from,
            for each subnet.
        subnets: The depths of each subnet. Default: uniform ones.

    Raises:
        TypeError: If the model is no classifier with one vector of logits.
        ValueError: If the evaluator does not return that metric, or a subnet
            does not fit the network.

    Example:
        >>> run = measure_amplitudes(
        ...     runner, num_samples=12, subnets=[(1, 2, 1)])
        >>> list(run.amplitudes)
        ['main', '1-2-1']
    """
    scores, amplitudes = {}, {}
    for depths in show_progress(list_networks(runner, subnets), 'networks'):
        name = name_network(depths)
        with run_as_subnet(runner, depths, num_samples):
            amplitudes[name] = _average_norm(runner)
            metrics = runner.val_loop.run()
        metric = choose_metric(metrics, metric)
        scores[name] = float(metrics[metric])
    assert metric is not None  # the main network was measured
    return Amplitudes(metric, scores, amplitudes)


@torch.no_grad()
def _average_norm(runner: Runner) -> float:
    """Average the L2 norm of the logits of all validation images."""
    model = unwrap_model(runner.model)
    model.eval()
    norms = []
    for batch in get_validation_loader(runner):
        logits = compute_logits(model, model.data_preprocessor(batch, False))
        norms.append(logits.double().norm(dim=1).cpu())
    return torch.cat(norms).mean().item()


def format_amplitude_table(results: Dict[str, Amplitudes]) -> str:
    """Format a table with a row for each network of each run.

    Example:
        >>> run = Amplitudes('accuracy/top1', {'main': 92.0}, {'main': 12.5})
        >>> print(format_amplitude_table({'ST': run}))
            network  mean L2 norm of logits  accuracy/top1 (%)
        ST     main                  12.500              92.00
    """
    first = next(iter(results.values()))
    digits = choose_digits(
        score for run in results.values() for score in run.scores.values()
    )
    label = label_metric(first.metric, first.rule)
    return format_table(
        ['', 'network', AMPLITUDE, label],
        [
            [
                name,
                network,
                f'{run.amplitudes[network]:.3f}',
                f'{score:.{digits}f}',
            ]
            for name, run in results.items()
            for network, score in run.scores.items()
        ],
    )


def draw_amplitudes(results: Dict[str, Amplitudes]) -> 'Figure':
    """Draw amplitudes above scores: over subnets, or over networks.

    Where only main networks were measured, these are on the axis, as in the
    paper's figure; else each run is a line over its subnets.

    Example:
        >>> run = Amplitudes('accuracy/top1', {'main': 92.0}, {'main': 12.5})
        >>> draw_amplitudes({'ST': run}).savefig(folder / 'amplitudes.png')
    """
    first = next(iter(results.values()))
    panels = {
        AMPLITUDE: {n: [run.amplitudes] for n, run in results.items()},
        label_metric(first.metric, first.rule): {
            name: [run.scores] for name, run in results.items()
        },
    }
    if all(list(run.scores) == [MAIN] for run in results.values()):
        for label, panel in panels.items():
            scores = {name: run[MAIN] for name, (run,) in panel.items()}
            panels[label] = {MAIN: [scores]}
        figure = draw_score_panels(panels, list(results))
    else:
        figure = draw_score_panels(panels)
    above = figure.axes[0]
    above.set_ylim(0, 1.03 * above.get_ylim()[1])
    return figure
