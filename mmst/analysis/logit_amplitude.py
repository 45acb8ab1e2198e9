"""Amplitude of logits: how loud networks of different depth speak (Fig. 4).

Networks of different capacity end with logits of different length. A subnet
that is to copy the main network's logits has to copy that length too, which
KL- takes out of the comparison.
"""

from contextlib import contextmanager
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import torch
from mmengine.runner import Runner
from mmpretrain.models import BaseClassifier
from torch import Tensor, nn

from mmst.evaluation import run_as_subnet, validation_loader
from mmst.models import STClsHead
from mmst.subnets import unwrap_model

from .line_styles import legend_below
from .loafing import (
    MAIN,
    Scores,
    draw_scores,
    label_networks,
    network_name,
    network_names,
    networks_of,
)
from .metric_names import choose_metric, metric_label
from .results import score_digits, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Amplitudes(NamedTuple):
    """Logit amplitudes of one run.

    Attributes:
        metric: What the scores are, by its name in the evaluator's output.
        scores: Of each network.
        amplitudes: Of each network, the mean L2 norm of its logits.
    """

    metric: str
    scores: Scores
    amplitudes: Scores


# For each run by its name.
Results = Dict[str, Amplitudes]


def measure_amplitudes(
    runner: Runner,
    metric: Optional[str] = None,
    num_samples: int = 2000,
    subnets: Optional[Sequence[Sequence[int]]] = None,
) -> Amplitudes:
    """Mean L2 norm of logits over the validation set, and the score.

    Args:
        runner: A runner of a classifier with its weights loaded.
        metric: See :func:`mmst.analysis.loafing.measure_loafing`.
        num_samples: Likewise.
        subnets: Likewise.

    Raises:
        TypeError: If the model is no classifier with one vector of logits.
        ValueError: As of :func:`mmst.analysis.loafing.measure_loafing`.
    """
    head = _logit_head(runner.model)
    validation_loader(runner)
    networks = networks_of(runner, subnets)
    scores, amplitudes = {}, {}
    for number, depths in enumerate(networks, 1):
        name = network_name(depths)
        runner.logger.info(f'Network {number} of {len(networks)}: {name}')
        with run_as_subnet(runner, depths, num_samples), _recorded_norms(
            head
        ) as norms:
            metrics = runner.val_loop.run()
        if not norms:
            raise TypeError(
                f'{type(runner.model).__name__} predicts without '
                f'calling its head, {type(head).__name__}'
            )
        metric = choose_metric(metrics, metric)
        scores[name] = float(metrics[metric])
        amplitudes[name] = torch.cat(norms).mean().item()
    assert metric is not None  # the main network was measured
    return Amplitudes(metric, scores, amplitudes)


def _logit_head(model: nn.Module) -> nn.Module:
    """The module whose output are the logits."""
    model = unwrap_model(model)
    head = getattr(model, 'head', None)
    if not isinstance(model, BaseClassifier) or head is None:
        raise TypeError(
            f'logits are those of classifiers with a head, not '
            f'of {type(model).__name__}'
        )
    # Prediction is the wrapped head's own, which calls itself.
    return head.head if isinstance(head, STClsHead) else head


@contextmanager
def _recorded_norms(head: nn.Module) -> Iterator[List[Tensor]]:
    """Collect the L2 norms of a head's logits, (N, ) a batch."""
    norms: List[Tensor] = []

    def record(module: nn.Module, args: Tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(
                f'{type(head).__name__} gives more than one '
                'vector of logits an image'
            )
        norms.append(output.detach().double().norm(dim=1).cpu())

    handle = head.register_forward_hook(record)
    try:
        yield norms
    finally:
        handle.remove()


def amplitude_table(results: Results) -> str:
    """A table with a row for each network of each run."""
    metric = next(iter(results.values())).metric
    digits = score_digits(
        max(max(run.scores.values()) for run in results.values())
    )
    return text_table(
        ['', 'network', 'mean L2 norm of logits', metric_label(metric)],
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


def draw_amplitudes(results: Results) -> 'Figure':
    """Draw amplitudes above scores: over subnets, or over networks.

    Where only main networks were measured, these are on the axis, as in the
    paper's figure; else each run is a line over its subnets.

    Args:
        results: Of each run.
    """
    from matplotlib.figure import Figure

    metric = next(iter(results.values())).metric
    panels = [
        {name: [getattr(run, kind)] for name, run in results.items()}
        for kind in ('amplitudes', 'scores')
    ]
    networks = network_names(panels[0])
    if networks == [MAIN]:
        panels = [
            {
                'main network': [
                    {name: run[MAIN] for name, (run,) in panel.items()}
                ]
            }
            for panel in panels
        ]
        networks, label = list(results), 'network'
    else:
        networks = [n for n in networks if n != MAIN] + [MAIN]
        label = 'network: blocks kept in each stage, or the main network'
    figure = Figure(
        figsize=(max(6.4, 0.5 * len(networks)), 6), layout='constrained'
    )
    axes = figure.subplots(2, 1, sharex=True)
    for axis, panel, name in zip(
        axes, panels, ('mean L2 norm of logits', metric_label(metric))
    ):
        draw_scores(axis, panel, networks)
        axis.set_ylabel(name)
    axes[0].set_ylim(0, 1.03 * axes[0].get_ylim()[1])
    label_networks(axes[1], networks)
    axes[1].set_xlabel(label)
    if len(panels[0]) > 1:
        legend_below(figure, *axes[0].get_legend_handles_labels())
    return figure
