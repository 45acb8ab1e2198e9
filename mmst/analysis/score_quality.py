"""How well calibrated a classifier's scores are, and Section 5's bound.

In a network that is trained through normalised logits, the length of the raw
logits is not trained: cross-entropy and calibration of their softmax show it.
"""

from math import exp, log
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from torch import Tensor

from mmst.evaluation import (
    collect_training_logits,
    collect_validation_logits,
    fit_temperature,
    measure_quality,
    run_as_subnet,
)
from mmst.models import STClsHead
from mmst.subnets import unwrap_model

from .plots import choose_line_styles, draw_score_panels
from .results import format_table, show_progress
from .scores import MAIN, Scores, list_networks, name_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RAW, PREDICTED, CALIBRATED = FORMS = ('raw', 'predicted', 'calibrated')


class NetworkScores(NamedTuple):
    """Scores of one network on the validation images.

    Attributes:
        top1: Percentage of images classified correctly.
        temperature: Temperature fitted on training images.
        cross_entropy: In nats, of the softmax of raw logits, of the scores
            that the model predicts, and of calibrated logits.
        calibration_error: Expected calibration error of the same three, in
            0 to 1.
    """

    top1: float
    temperature: float
    cross_entropy: Dict[str, float]
    calibration_error: Dict[str, float]


class Bound(NamedTuple):
    """Section 5's bound on the cross-entropy of subnets (Eq. 12), in nats.

    Attributes:
        main: Cross-entropy of the main network, epsilon 1.
        divergence: Mean divergence of the subnets from it, epsilon 2.
        gap: Distance of its cross-entropy from the subnets' mean.
        bound: The largest gap that Eq. 12 allows.
        chance: Cross-entropy of equal scores for all classes.
    """

    main: float
    divergence: float
    gap: float
    bound: float
    chance: float


class ScoreReport(NamedTuple):
    """Scores of one run.

    Attributes:
        networks: Scores of each network.
        bound: Bound on its subnets; ``None`` if none were measured.
    """

    networks: Dict[str, NetworkScores]
    bound: Optional[Bound]


def measure_scores(
    runner: Runner,
    num_samples: int = 2000,
    subnets: Optional[Sequence[Sequence[int]]] = None,
) -> ScoreReport:
    """Measure the scores of a main network and its subnets.

    Args:
        runner: A runner of a classifier with its weights loaded.
        num_samples: Training images to fit temperatures on, and to re-estimate
            BatchNorm statistics from.
        subnets: The depths of each subnet. Default: uniform ones.

    Raises:
        TypeError: If the model is no classifier with one vector of logits.
        ValueError: If a subnet does not fit the network.

    Example:
        >>> report = measure_scores(runner, 12, subnets=[(1, 2, 1)])
        >>> list(report.networks)
        ['main', '1-2-1']
    """
    head = getattr(unwrap_model(runner.model), 'head', None)
    networks: Dict[str, NetworkScores] = {}
    predicted: List[Tensor] = []
    for depths in show_progress(list_networks(runner, subnets), 'networks'):
        with run_as_subnet(runner, depths, num_samples):
            logits, labels = collect_validation_logits(runner)
            fitted_on = collect_training_logits(runner, num_samples)
        temperature = fit_temperature(*fitted_on)
        # The scores that the model predicts are the softmax of these.
        seen = logits
        if isinstance(head, STClsHead):
            seen = head.normalize_main_logits(logits)
        predicted.append(seen)
        forms = (logits, seen, logits / temperature)
        entropies, errors = zip(*(measure_quality(z, labels) for z in forms))
        right = (logits.argmax(1) == labels).double().mean().item()
        networks[name_network(depths)] = NetworkScores(
            100 * right,
            temperature,
            dict(zip(FORMS, entropies)),
            dict(zip(FORMS, errors)),
        )
    main, *others = predicted
    return ScoreReport(
        networks, compute_bound(main, others, labels) if others else None
    )


def compute_bound(
    main: Tensor, subnets: Sequence[Tensor], labels: Tensor
) -> Bound:
    r"""Compare the cross-entropies' gap with what Eq. 12 allows.

    The bound is :math:`(\epsilon_2 + \log N)\,e^{\epsilon_1} + \epsilon_1`
    for N classes, :math:`\log N` at least, as for guessing.

    Args:
        main: Logits of the main network, (images, N), as its loss sees them.
        subnets: Logits of each subnet, (images, N).
        labels: Classes, (images, ).

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> compute_bound(logits, [logits], torch.tensor([0])).gap
        0.0
    """
    chance, log_p = log(main.shape[1]), main.log_softmax(1)
    log_q = torch.stack(list(subnets)).log_softmax(2)
    loss = F.nll_loss(log_p, labels).item()
    gap = abs(loss - F.nll_loss(log_q.mean(0), labels).item())
    divergence = (log_p.exp() * (log_p - log_q)).sum(2).mean().item()
    bound = (divergence + chance) * exp(loss) + loss
    return Bound(loss, divergence, gap, bound, chance)


def format_score_table(results: Dict[str, ScoreReport]) -> str:
    """Format a table of all networks of each run, and one of the bounds.

    Example:
        >>> report = measure_scores(runner, 12, subnets=[(1, 2, 1)])
        >>> format_score_table({'ST': report}).split()[:2]
        ['network', 'top-1']
    """
    head = ['', 'network', 'top-1 (%)']
    head += [f'CE {form}' for form in FORMS]
    head += [f'ECE {form} (%)' for form in FORMS] + ['temperature']
    rows, bounds = [], []
    for run, report in results.items():
        for name, network in report.networks.items():
            entropies = network.cross_entropy.values()
            errors = network.calibration_error.values()
            rows.append(
                [run, name, f'{network.top1:.2f}']
                + [f'{entropy:.3f}' for entropy in entropies]
                + [f'{100 * error:.1f}' for error in errors]
                + [f'{network.temperature:.3g}']
            )
        if report.bound is not None:
            bounds.append([run, *(f'{value:.3f}' for value in report.bound)])
    table = format_table(head, rows)
    if not bounds:
        return table
    head = ['', MAIN, 'divergence', 'gap', 'bound', 'chance']
    return f'{table}\n\nEq. 12, in nats\n{format_table(head, bounds)}'


def draw_score_quality(results: Dict[str, ScoreReport]) -> 'Figure':
    """Draw cross-entropy and calibration error of subnets, in two panels.

    Filled markers are predicted scores, hollow ones calibrated.

    Example:
        >>> report = measure_scores(runner, 12, subnets=[(1, 2, 1)])
        >>> figure = draw_score_quality({'ST': report})
        >>> figure.savefig(folder / 'score_quality.png')
    """
    entropies: Dict[str, List[Scores]] = {}
    errors: Dict[str, List[Scores]] = {}
    styles = {}
    hollow = dict(markerfacecolor='white', linestyle=':')
    for run, style in choose_line_styles(results).items():
        found = results[run].networks.items()
        for form, change in ((PREDICTED, {}), (CALIBRATED, hollow)):
            line = f'{run}, {form}'
            styles[line] = {**style, **change}
            entropies[line] = [{n: x.cross_entropy[form] for n, x in found}]
            errors[line] = [{n: x.calibration_error[form] for n, x in found}]
    figure = draw_score_panels(
        {'cross-entropy (nats)': entropies, 'calibration error': errors},
        styles=styles,
    )
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
    return figure
