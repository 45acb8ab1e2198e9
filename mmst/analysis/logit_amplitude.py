"""Amplitude of logits of networks of different depth (Fig. 4).

Networks of different capacity have logits of different length. A subnet that
learns from the main network's logits has to copy that length too; KL- removes
it from the comparison.
"""

from contextlib import contextmanager
from typing import (
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

from mmst.evaluation import get_validation_loader, run_as_subnet
from mmst.models import STClsHead
from mmst.subnets import unwrap_model

from .metric_names import choose_metric, label_metric
from .results import choose_digits, format_table
from .scores import Scores, list_networks, name_network


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
    """Measure the mean L2 norm of logits on the validation set, and the score.

    Args:
        runner: A runner of a classifier with its weights loaded.
        metric: See :func:`mmst.analysis.loafing.measure_loafing`.
        num_samples: Likewise.
        subnets: Likewise.

    Raises:
        TypeError: If the model is no classifier with one vector of logits.
        ValueError: As of :func:`mmst.analysis.loafing.measure_loafing`.

    Example:
        >>> run = measure_amplitudes(
        ...     runner, num_samples=12, subnets=[(1, 2, 1)])
        >>> list(run.amplitudes)
        ['main', '1-2-1']
    """
    head = _find_logit_head(runner.model)
    get_validation_loader(runner)
    networks = list_networks(runner, subnets)
    scores, amplitudes = {}, {}
    for number, depths in enumerate(networks, 1):
        name = name_network(depths)
        runner.logger.info(f'Network {number} of {len(networks)}: {name}')
        with run_as_subnet(runner, depths, num_samples), _record_norms(
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


def _find_logit_head(model: nn.Module) -> nn.Module:
    """Find the module whose output is the logits."""
    model = unwrap_model(model)
    head = getattr(model, 'head', None)
    if not isinstance(model, BaseClassifier) or head is None:
        raise TypeError(
            f'only classifiers with a head have logits, not '
            f'{type(model).__name__}'
        )
    # Prediction is the wrapped head's own, which calls itself.
    return head.head if isinstance(head, STClsHead) else head


@contextmanager
def _record_norms(head: nn.Module) -> Iterator[List[Tensor]]:
    """Collect the L2 norms of a head's logits, (N, ) per batch."""
    norms: List[Tensor] = []

    def record(module: nn.Module, args: Tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(
                f'{type(head).__name__} returns more than one '
                'logit vector per image'
            )
        norms.append(output.detach().double().norm(dim=1).cpu())

    handle = head.register_forward_hook(record)
    try:
        yield norms
    finally:
        handle.remove()


def format_amplitude_table(results: Results) -> str:
    """Format a table with a row for each network of each run.

    Example:
        >>> run = Amplitudes('accuracy/top1', {'main': 92.0}, {'main': 12.5})
        >>> print(format_amplitude_table({'ST': run}))
            network  mean L2 norm of logits  accuracy/top1 (%)
        ST     main                  12.500              92.00
    """
    metric = next(iter(results.values())).metric
    digits = choose_digits(
        max(max(run.scores.values()) for run in results.values())
    )
    return format_table(
        ['', 'network', 'mean L2 norm of logits', label_metric(metric)],
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
