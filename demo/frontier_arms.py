"""How networks are trained that ``demo/frontier.py`` compares."""

from typing import Any, Dict, NamedTuple


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        label: Its name in tables and pictures.
        method: Its config is ``configs/demo/resnet20_<method>_numbers10k.py``.
        options: What differs from that, as ``--cfg-options`` has it.
    """

    label: str
    method: str
    options: Dict[str, Any] = {}


SAMPLER = 'custom_hooks.0.'
#: SITrans and the inter-stage rule, each as ``resnet20_stpp_numbers10k.py``
#: has it.
SMALLER = {f'{SAMPLER}size_range': [0.75, 1.0]}
TWO_BLOCKS = {f'{SAMPLER}min_depth': 2}


def align(form: str, num_subnets: int, **more: Any) -> Arm:
    """ST with a form of KL- and K subnets.

    Args:
        form: 'kl' (plain), 'l2' (by the letter) or 'standardize' (as
            released, main logits too).
        num_subnets: K.
        **more: More options, by the end of the label.
    """
    options: Dict[str, Any] = {f'{SAMPLER}num_subnets': num_subnets}
    if form != 'kl':
        options['model.head.loss_kl.normalize'] = form
        options['model.head.normalize_main'] = form == 'standardize'
    label = 'KL' if form == 'kl' else f'KL- ({form})'
    for name, option in more.items():
        label += f', {name}'
        options.update(option)
    return Arm(f'{label}, K = {num_subnets}', 'st', options)


ARMS = {
    'ct': Arm('CT', 'ct'),
    'st': Arm('ST', 'st'),
    'stpp': Arm('ST++', 'stpp'),
    'stpp-shared': Arm('ST++, one size', 'stpp-shared'),
    'stpp-all': Arm(
        'ST++, one size, all depths',
        'stpp-shared',
        {f'{SAMPLER}min_depth': 1},
    ),
    'stpp-every2': Arm('ST++, one size, every 2nd iteration', 'stpp-every2'),
    'stpp-late': Arm('ST++, one size, second half', 'stpp-late'),
    'stpp-label': Arm(
        'ST++, labels', 'stpp', {'model.head.subnet_target': 'label'}
    ),
    # Fig. 5 in small; K = 1 with plain KL is ST.
    **{
        f'{form}-k{number}': align(form, number)
        for form in ('kl', 'l2', 'standardize')
        for number in (1, 2, 4)
        if (form, number) != ('kl', 1)
    },
    # Table 3: ST, KL-, K = 3, SITrans, and with the inter-stage rule ST++.
    'standardize-k3': align('standardize', 3),
    'standardize-k3-sit': align('standardize', 3, SITrans=SMALLER),
    'standardize-k3-min2': align('standardize', 3, InterSSR=TWO_BLOCKS),
}
#: The arm that others are compared with at equal cost.
PLAIN = 'ct'
#: Those whose cost is a matter of schedule, for Fig. 9 (the first is PLAIN).
FRONTIER = (
    PLAIN,
    'st',
    'stpp',
    'stpp-shared',
    'stpp-all',
    'stpp-every2',
    'stpp-late',
)
