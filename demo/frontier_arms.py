"""The ways of training that ``demo/frontier.py`` compares."""

from typing import Any, Dict, NamedTuple, Tuple


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        label: Its name in tables and pictures.
        method: As in the name of its config, see :class:`Comparison`.
        options: What differs from that config, as in ``--cfg-options``.
        begin: Fraction of the training after which subnets begin.
    """

    label: str
    method: str
    options: Dict[str, Any] = {}
    begin: float = 0.0


class Comparison(NamedTuple):
    """Ways to train one network.

    Attributes:
        config: Configs are ``configs/demo/<this>.py``, with the method in
            place of {}.
        arms: All ways, by name.
        default: Those that are trained if none are named.
        epochs: Lengths of each in epochs, if none are given; the arms that
            it does not name take those of ``''``.
        has_exits: Whether each run scores its subnets too.
        followers: Methods that go on from a pretraining, by name; the last
            gives its score.
        is_drawn: Whether lengths differ in cost, so that a picture tells
            more than the table.
    """

    config: str
    arms: Dict[str, Arm]
    default: Tuple[str, ...]
    epochs: Dict[str, Tuple[int, ...]]
    has_exits: bool = False
    followers: Dict[str, str] = {}
    is_drawn: bool = False

    def find_config(self, method: str) -> str:
        """Find the config of a method, from the repository's root."""
        return f'configs/demo/{self.config.format(method)}.py'


SAMPLER = 'custom_hooks.0.'
#: SITrans and the inter-stage rule, as in ``resnet20_stpp_numbers10k.py``.
SMALLER = {f'{SAMPLER}size_range': [0.75, 1.0]}
TWO_BLOCKS = {f'{SAMPLER}min_depth': 2}
#: What undoes SITrans and KL- of that config.
FULL_SIZE = {f'{SAMPLER}size_range': None}
PLAIN_KL = {
    'model.head.loss_kl.normalize': None,
    'model.head.normalize_main': False,
}
WEAK = {'model.head.loss_kl.loss_weight': 0.1}
FROM_LABELS = {'model.head.subnet_target': 'label'}


def align(form: str, num_subnets: int, **more: Any) -> Arm:
    """Make an arm of ST with a form of KL- and K subnets.

    Args:
        form: 'kl' (plain), 'l2' (exactly as in the paper) or 'standardize'
            (as released, main logits too).
        num_subnets: K.
        **more: More options, by their label.
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


RESNET_ARMS = {
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
    'stpp-late': Arm('ST++, one size, second half', 'stpp-late', begin=0.5),
    # Variants of stpp-shared, to choose its settings from.
    'stpp-full': Arm('ST++, full size', 'stpp-shared', FULL_SIZE),
    'stpp-kl': Arm('ST++, one size, plain KL', 'stpp-shared', PLAIN_KL),
    'stpp-kl-full': Arm(
        'ST++, full size, plain KL', 'stpp-shared', {**FULL_SIZE, **PLAIN_KL}
    ),
    'stpp-kl-half': Arm(
        'ST++, one size from 0.5, plain KL',
        'stpp-shared',
        {**PLAIN_KL, f'{SAMPLER}size_range': [0.5, 1.0]},
    ),
    'stpp-kl-k1': Arm(
        'ST++, one size, plain KL, K = 1',
        'stpp-shared',
        {**PLAIN_KL, f'{SAMPLER}num_subnets': 1},
    ),
    'stpp-k1': Arm(
        'ST++, one size, K = 1',
        'stpp-shared',
        {f'{SAMPLER}num_subnets': 1},
    ),
    'stpp-scale2': Arm(
        'ST++, one size, scale 2',
        'stpp-shared',
        {'model.head.loss_kl.scale': 2.0},
    ),
    'stpp-label': Arm('ST++, labels', 'stpp', FROM_LABELS),
    # A small Fig. 5; K = 1 with plain KL is ST.
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
#: A subnet of a ViT at full size is an exit of the main pass.
VIT_ARMS = {
    'ct': Arm('CT', 'ct'),
    'st': Arm('ST', 'st'),
    'st-k3': Arm('ST, K = 3', 'st', {f'{SAMPLER}num_subnets': 3}),
    'st-standardize': align('standardize', 1),
    'stpp': align('standardize', 3)._replace(label='ST++, full size'),
    # Variants of ST, to choose what serves a ViT from.
    'st-min4': Arm('ST, last exits', 'st', {f'{SAMPLER}min_depth': 4}),
    'st-weak': Arm('ST, weight 0.1', 'st', WEAK),
    'st-label': Arm('ST, labels', 'st', FROM_LABELS),
    'st-late': Arm('ST, second half', 'st', begin=0.5),
    'st-weak-late': Arm('ST, weight 0.1, second half', 'st', WEAK, 0.5),
}
#: The arm that others are compared with at equal cost.
PLAIN = 'ct'
COMPARISONS = {
    # For Fig. 9: arms whose cost is a matter of schedule. All have the same
    # lengths, and CT two more, to cost as much as the longest of ST++ with
    # one size and with a size for each subnet.
    'resnet20': Comparison(
        'resnet20_{}_numbers10k',
        RESNET_ARMS,
        (
            PLAIN,
            'stpp',
            'stpp-shared',
            'stpp-k1',
            'stpp-all',
            'stpp-every2',
            'stpp-late',
        ),
        {PLAIN: (10, 20, 40, 80, 184, 236), '': (10, 20, 40, 80)},
        is_drawn=True,
    ),
    # Equal lengths cost the same. The longer ones are for the arm that was
    # best on the split.
    'vit': Comparison(
        'vit_{}_mnistm5k',
        VIT_ARMS,
        (PLAIN, 'st', 'st-k3', 'st-standardize', 'stpp', 'st-weak'),
        {PLAIN: (40, 80), 'st-weak': (40, 80), '': (40,)},
        has_exits=True,
    ),
    # CT's longer one costs as much as ST.
    'mae': Comparison(
        'vit_{}_mnistm5k',
        {'ct': Arm('MAE', 'mae'), 'st': Arm('MAE, ST', 'mae-st')},
        (PLAIN, 'st'),
        {PLAIN: (40, 70), '': (40,)},
        followers={'linear probe': 'probe', 'fine-tuning': 'finetune'},
    ),
}
