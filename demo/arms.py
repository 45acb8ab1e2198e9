"""The ways of training that ``demo/compare.py`` compares."""

from typing import Any, Dict, NamedTuple, Tuple, Union


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        label: Its name in tables and pictures.
        method: Part of the name of its config, see :class:`Comparison`.
        options: Changes of that config, as in ``--cfg-options``; names
            without a dot are the sampler's.
    """

    label: str
    method: str
    options: Dict[str, Any] = {}


class Comparison(NamedTuple):
    """Ways to train one network.

    Attributes:
        file: Name of its results, without ending.
        config: Configs are ``configs/demo/<this>.py``, with the method in
            place of {}.
        arms: All ways, by name.
        default: Arms that are trained if none are named.
        epochs: Lengths of each in epochs, if none are given; the arms that
            it does not name take those of ``''``.
        plain: Arms without subnets. The first is what the others are compared
            with, and all are trained longer or shorter for equal cost.
        shares: Numbers of plain networks that share the FLOPs of one training
            with subnets; 'all': as many as that has subnets.
        scored: Arms whose subnets are scored too.
        sizes: Sizes of smaller test images, in px, that these subnets and the
            first plain arm are scored on as well.
        followers: Methods that go on from a pretraining, by name; the last
            gives its score.
        drawn: Arms in the picture: variants would only hide them.
    """

    file: str
    config: str
    arms: Dict[str, Arm]
    default: Tuple[str, ...]
    epochs: Dict[str, Tuple[int, ...]]
    plain: Tuple[str, ...] = ('ct',)
    shares: Tuple[Union[int, str], ...] = (1,)
    scored: Tuple[str, ...] = ()
    sizes: Tuple[int, ...] = ()
    followers: Dict[str, str] = {}
    drawn: Tuple[str, ...] = ()

    def find_config(self, method: str) -> str:
        """Find the config of a method, from the repository's root."""
        return f'configs/demo/{self.config.format(method)}.py'

    def list_options(self, arm: str, epochs: int, seed: int) -> Dict[str, Any]:
        """List what an arm, a length and a seed change in the config."""
        options = {
            key if '.' in key else SAMPLER + key: value
            for key, value in self.arms[arm].options.items()
        }
        options['train_cfg.max_epochs'] = epochs
        options['train_cfg.val_interval'] = epochs
        options['randomness.seed'] = seed
        return options


# Settings are chosen on a part of the training images, so that the validation
# images stay unseen until the end.
TUNING_SPLIT = {
    'train_dataloader.dataset.ann_file': 'meta/tune_train.txt',
    'val_dataloader.dataset.ann_file': 'meta/tune_val.txt',
    'val_dataloader.dataset.data_prefix': 'train',
}
SAMPLER = 'custom_hooks.0.'
LOSS = 'model.head.loss_kl.'
TARGET = 'model.head.subnet_target'
#: SITrans and the inter-stage rule.
SMALLER = dict(size_range=[0.75, 1.0])
TWO_BLOCKS = dict(min_depth=2)
THREE = dict(num_subnets=3)
PLAIN_KL = {f'{LOSS}normalize': None, 'model.head.normalize_main': False}
RELEASED = {
    f'{LOSS}normalize': 'standardize',
    'model.head.normalize_main': True,
}
SCALED = {**RELEASED, f'{LOSS}scale': 2.0}
#: ST becomes ST++, with a size for each subnet.
STPP = {**RELEASED, **THREE, **TWO_BLOCKS, **SMALLER}
WEAK = {f'{LOSS}loss_weight': 0.1}

# Table 3, component by component; then variants of ST++.
DIGITS_ARMS = {
    'ct': Arm('CT', 'ct'),
    'st': Arm('ST', 'st'),
    'st-sit': Arm('ST + SITrans', 'st', SMALLER),
    'st-l2': Arm('ST + KL- (l2)', 'st', {f'{LOSS}normalize': 'l2'}),
    'st-standardize': Arm('ST + KL-', 'st', SCALED),
    'st-standardize-k3': Arm('ST + KL- + Snet3', 'st', {**SCALED, **THREE}),
    'stpp': Arm('ST++', 'stpp'),
    'stpp-min2': Arm('ST++ + InterSSR', 'stpp', TWO_BLOCKS),
    'stpp-kl': Arm('ST++ (plain KL)', 'st', {**THREE, **SMALLER}),
    'stpp-stochastic': Arm(
        'ST++ (stochastic)', 'stpp', dict(strategy='stochastic')
    ),
    'stpp-raw': Arm('ST++ (raw)', 'stpp', dict(strategy='raw')),
    # The released code does so, and re-estimates them before validation.
    'stpp-running-stats': Arm(
        'ST++ (running statistics)',
        'stpp',
        {
            'train_cfg.update_running_stats': True,
            'default_hooks.precise_bn.type': 'PreciseBNHook',
            'default_hooks.precise_bn.num_samples': 2000,
        },
    ),
    # The released code resizes each subnet's input from the previous one's
    # and normalises it again. Fractions would multiply along the chain.
    'stpp-chained': Arm(
        'ST++ (chained inputs)',
        'stpp',
        {
            'train_cfg.chain_inputs': True,
            'train_cfg.input_transforms': ['normalize'],
            'size_range': [24, 32],
        },
    ),
    'stpp-label': Arm('ST++ (labels)', 'stpp', {TARGET: 'label'}),
    'stpp-both': Arm(
        'ST++ (labels and main network)', 'stpp', {TARGET: 'both'}
    ),
}


def align(form: str, num_subnets: int, **more: Any) -> Arm:
    """Make an arm of ST with a form of KL- and K subnets.

    Args:
        form: 'kl' (plain), 'l2' (exactly as in the paper) or 'standardize'
            (as released, main logits too).
        num_subnets: K.
        **more: More options, by their label.
    """
    options: Dict[str, Any] = dict(num_subnets=num_subnets)
    if form != 'kl':
        options[f'{LOSS}normalize'] = form
        options['model.head.normalize_main'] = form == 'standardize'
    label = 'KL' if form == 'kl' else f'KL- ({form})'
    for name, option in more.items():
        label += f', {name}'
        options.update(option)
    return Arm(f'{label}, K = {num_subnets}', 'st', options)


def share_size(label: str = '', **options: Any) -> Arm:
    """Make an arm of ST++ whose subnets share a size in each iteration."""
    return Arm(f'ST++, one size{label}', 'stpp-shared', options)


NUMBERS_ARMS = {
    'ct': Arm('CT', 'ct'),
    'st': Arm('ST', 'st'),
    'stpp': Arm('ST++', 'st', STPP),
    'stpp-shared': share_size(),
    'stpp-all': share_size(', all depths', min_depth=1),
    'stpp-every2': share_size(', every 2nd iteration', every=2),
    'stpp-late': share_size(', second half', begin=0.5),
    'stpp-fifth': share_size(', from a fifth on', begin=0.2),
    # Variants of stpp-shared, to choose its settings from.
    'stpp-full': Arm('ST++, full size', 'stpp-shared', dict(size_range=None)),
    'stpp-kl': share_size(', plain KL', **PLAIN_KL),
    'stpp-kl-full': Arm(
        'ST++, full size, plain KL',
        'stpp-shared',
        dict(PLAIN_KL, size_range=None),
    ),
    'stpp-kl-half': share_size(
        ' from 0.5, plain KL', **PLAIN_KL, size_range=[0.5, 1.0]
    ),
    'stpp-kl-k1': share_size(', plain KL, K = 1', **PLAIN_KL, num_subnets=1),
    'stpp-k1': share_size(', K = 1', num_subnets=1),
    'stpp-scale2': share_size(', scale 2', **{f'{LOSS}scale': 2.0}),
    'stpp-label': Arm('ST++, labels', 'st', {**STPP, TARGET: 'label'}),
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
#: Arms whose cost is a matter of schedule, for Fig. 9.
SCHEDULES = (
    'ct',
    'stpp',
    'stpp-shared',
    'stpp-k1',
    'stpp-all',
    'stpp-every2',
    'stpp-late',
    'stpp-fifth',
)
#: A subnet of a ViT at full size is an exit of the main pass.
VIT_ARMS = {
    'ct': Arm('CT', 'ct'),
    'st': Arm('ST', 'st'),
    'st-k3': Arm('ST, K = 3', 'st', THREE),
    'st-standardize': align('standardize', 1),
    'stpp': align('standardize', 3)._replace(label='ST++, full size'),
    # Variants of ST, to choose what serves a ViT from.
    'st-min4': Arm('ST, last exits', 'st', dict(min_depth=4)),
    'st-weak': Arm('ST, weight 0.1', 'st', WEAK),
    'st-label': Arm('ST, labels', 'st', {TARGET: 'label'}),
    'st-late': Arm('ST, second half', 'st', dict(begin=0.5)),
    'st-weak-late': Arm(
        'ST, weight 0.1, second half', 'st', dict(WEAK, begin=0.5)
    ),
}
DEPTH = 'model.backbone.depth'
#: Networks alone have the names of the subnets of the same blocks.
ALONE_ARMS = {
    f'{n}-{n}-{n}': Arm(f'ResNet-{6 * n + 2}', 'ct', {DEPTH: 6 * n + 2})
    for n in (1, 2, 3, 4, 5)
}


def train_family(label: str = '', depth: int = 32, **options: Any) -> Arm:
    """Make an arm that trains all networks within a ResNet together."""
    label = f'ST++ of ResNet-{depth}{label}'
    return Arm(label, 'stpp-shared', {DEPTH: depth, 'min_depth': 1, **options})


#: The best on the split.
BEST = {'size_range': None, 'sandwich': True, TARGET: 'label'}

FAMILY_ARMS = {
    # Variants, to choose the settings from.
    'stpp': train_family(),
    'stpp-sandwich': train_family(', sandwich', sandwich=True),
    'stpp-fifth': train_family(', from a fifth on', begin=0.2),
    'stpp-kl': train_family(', plain KL', **PLAIN_KL),
    'stpp-label': train_family(', labels', **{TARGET: 'label'}),
    'stpp-label-fifth': train_family(
        ', labels, from a fifth on', begin=0.2, **{TARGET: 'label'}
    ),
    'stpp-label-full': train_family(
        ', labels, full size', size_range=None, **{TARGET: 'label'}
    ),
    'stpp-label-full-sandwich': train_family(
        ', labels, full size, sandwich', **BEST
    ),
    'stpp-label-full-sandwich-k2': train_family(
        ', labels, full size, sandwich, K = 2', num_subnets=2, **BEST
    ),
    'stpp-label-full-sandwich-k5': train_family(
        ', labels, full size, sandwich, K = 5', num_subnets=5, **BEST
    ),
    'stpp-both': train_family(', labels and main network', **{TARGET: 'both'}),
    'resnet20': train_family(
        ', labels, full size, sandwich', depth=20, **BEST
    ),
    **ALONE_ARMS,
}

COMPARISONS = {
    # Main network and subnets of a ResNet-20.
    'digits': Comparison(
        'demo',
        'resnet20_{}_mnistm5k',
        DIGITS_ARMS,
        ('ct', 'stpp'),
        {'': (20,)},
        scored=tuple(DIGITS_ARMS),
        drawn=tuple(DIGITS_ARMS)[:8],
    ),
    # Fig. 9. All have the same lengths, and CT two more, to cost as much as
    # the longest of ST++ with one size and with a size for each subnet.
    'numbers': Comparison(
        'frontier',
        'resnet20_{}_numbers10k',
        NUMBERS_ARMS,
        SCHEDULES,
        {'ct': (10, 20, 40, 80, 184, 236), '': (10, 20, 40, 80)},
        drawn=SCHEDULES,
    ),
    # Equal lengths cost the same. The longer ones are for the arm that was
    # best on the split.
    'vit': Comparison(
        'frontier_vit',
        'vit_{}_mnistm5k',
        VIT_ARMS,
        ('ct', 'st', 'st-k3', 'st-standardize', 'stpp', 'st-weak'),
        {'ct': (40, 80), 'st-weak': (40, 80), '': (40,)},
        scored=tuple(VIT_ARMS),
    ),
    # CT's longer one costs as much as ST.
    'mae': Comparison(
        'frontier_mae',
        'vit_{}_mnistm5k',
        {'ct': Arm('MAE', 'mae'), 'st': Arm('MAE, ST', 'mae-st')},
        ('ct', 'st'),
        {'ct': (40, 70), '': (40,)},
        followers={'linear probe': 'probe', 'fine-tuning': 'finetune'},
    ),
    # One training for networks of several sizes, against one for each.
    'family': Comparison(
        'family',
        'resnet20_{}_numbers10k',
        FAMILY_ARMS,
        ('stpp-label-full-sandwich', 'resnet20', *ALONE_ARMS),
        {'': (20,)},
        plain=tuple(ALONE_ARMS)[::-1],
        shares=(2, 3, 5, 9, 'all'),
        scored=tuple(arm for arm in FAMILY_ARMS if arm not in ALONE_ARMS),
        sizes=(24, 28),
        drawn=('stpp-label-full-sandwich', 'resnet20'),
    ),
}
