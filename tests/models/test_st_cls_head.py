"""Losses and scores of real heads of mmpretrain that teach subnets."""

import copy
import re
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models import BaseClassifier, ImageClassifier
from mmpretrain.models.heads import ClsHead, LinearClsHead
from mmpretrain.models.losses import (
    AsymmetricLoss,
    CrossEntropyLoss,
    FocalLoss,
    LabelSmoothLoss,
    SeesawLoss,
)
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample, MultiTaskDataSample
from torch import nn
from torch.utils._pytree import tree_map

from mmst.engine.step import st_step
from mmst.models import STClsHead, check_teaching_head
from mmst.models.st_cls_head import is_of_softmax
from mmst.subnets import Subnet, activate
from tests.conftest import batch, build_classifier, classifier, sgd

FULL = (3, 3, 3)
SUBNET = Subnet.ordered((1, 2, 1), FULL)


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def in_subnet(head, feats, data_samples):
    with activate(build_classifier(double=False), SUBNET):
        return head.loss(feats, data_samples)


def kl(main, subnet):
    p, q = main.softmax(1), subnet.softmax(1)
    return (p * (p / q).log()).sum(1).mean()


def level(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(seed):
    return (level(seed, 4, 8),)


def two_levels(seed):
    return level(seed, 4, 5), level(seed + 10, 4, 8)


def two_branches(seed):
    return ([level(seed, 4, 8), level(seed + 10, 4, 6)],)


def config_of(kind='LinearClsHead', **options):
    return dict(dict(type=kind, num_classes=3, in_channels=8), **options)


PLAIN_KL = dict(type='mmst.KLMinusLoss', normalize=None)
STANDARDIZE = dict(type='mmst.KLMinusLoss', normalize='standardize')
SMOOTH = dict(type='LabelSmoothLoss', label_smooth_val=0.1)
# Heads, and their features as functions of a seed.
HEADS = [
    (config_of(), features),
    (config_of(), two_levels),
    (config_of('StackedLinearClsHead', mid_channels=[6]), features),
    (config_of('VisionTransformerClsHead'), features),
    (config_of('EfficientFormerClsHead', distillation=False), features),
    (config_of(loss=SMOOTH), features),
    # Lowers the logits of the labels in its loss, which is not taught.
    (config_of('ArcFaceClsHead'), features),
    # Two sets of logits: each is taught by its own.
    (
        dict(type='ConformerHead', num_classes=3, in_channels=[8, 6]),
        two_branches,
    ),
]


def standardized(logits):
    return F.layer_norm(logits, (3,), eps=1e-7) * 2


@pytest.mark.parametrize('target', ['main', 'label', 'both'])
@pytest.mark.parametrize(
    'normalize, normalize_main',
    [(None, False), ('standardize', False), ('standardize', True)],
)
@pytest.mark.parametrize('config, features', HEADS)
def test_losses_and_scores(
    config, features, normalize, normalize_main, target
):
    """Labels teach by the head's own loss, the main network by divergence."""
    plain = MODELS.build(config)
    loss_kl = dict(PLAIN_KL, normalize=normalize, loss_weight=0.7)
    if normalize:
        loss_kl['scale'] = 2.0
    head = STClsHead(copy.deepcopy(plain), loss_kl, normalize_main, target)
    data = samples([0, 2, 1, 1])
    main, small = features(0), features(1)
    pair = [plain(main), plain(small)]
    torch.testing.assert_close(head(main), pair[0])
    labels = [sample.pred_label for sample in plain.predict(main)]
    if normalize_main:
        plain.register_forward_hook(
            lambda module, args, logits: tree_map(standardized, logits)
        )

    torch.testing.assert_close(head.loss(main, data), plain.loss(main, data))
    losses, expected = in_subnet(head, small, data), {}
    if target != 'main':
        expected = plain.loss(small, data)
    if target != 'label':
        if normalize:
            pair = tree_map(standardized, pair)
        logits = [z if isinstance(z, tuple) else (z,) for z in pair]
        expected['loss_kl'] = 0.7 * sum(map(kl, *logits))
    torch.testing.assert_close(losses, expected)
    # Scores through the logits that training sees; the classes are the same.
    predictions = head.predict(main), plain.predict(main), labels
    for ours, theirs, label in zip(*predictions):
        torch.testing.assert_close(ours.pred_score, theirs.pred_score)
        assert torch.equal(ours.pred_label, label)


def test_cosine_loss_of_mmpretrain():
    """An option of the released code, which mmpretrain has."""
    cosine = dict(type='mmpretrain.CosineSimilarityLoss', shift_factor=1.0)
    head = STClsHead(config_of(), cosine)
    main, small = map(features, (0, 1))
    head.loss(main, samples([0] * 4))
    angles = F.cosine_similarity(head(main), head(small))
    torch.testing.assert_close(
        in_subnet(head, small, samples([0] * 4))['loss_kl'],
        (1 - angles).mean(),
    )
    with pytest.raises(TypeError, match='CosineSimilarityLoss does not'):
        STClsHead(config_of(), cosine, normalize_main=True)


@pytest.mark.parametrize('target', ['main', 'label'])
@pytest.mark.parametrize('augment', ['Mixup', 'CutMix'])
def test_mixed_labels(augment, target):
    """Soft labels go to the head's own loss; subnets see the mixed images."""
    config = classifier(loss_kl=PLAIN_KL, subnet_target=target)
    config['train_cfg'] = dict(augments=dict(type=augment, alpha=1.0))
    model = MODELS.build(config)
    model.train()
    seen = []
    model.backbone.register_forward_pre_hook(
        lambda m, args: seen.append(args[0])
    )
    data = batch(double=False)
    plain = (data['inputs'] - 127.5) / 64
    subnets = [Subnet.ordered(depths, FULL) for depths in ((1, 1, 1), FULL)]
    log = st_step(model, data, sgd(model, lr=0.0), subnets)
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0], plain)
    assert log['subnet0_loss'] > 0
    # The full depth on the same input is the main network once more.
    expected = log['main_loss'] if target == 'label' else torch.tensor(0.0)
    torch.testing.assert_close(
        log['subnet1_loss'], expected, rtol=1e-5, atol=1e-6
    )


class OwnDivergence(LinearClsHead):
    """Its own loss happens to have the name of the subnets'."""

    def loss(self, feats, data_samples):
        return dict(loss_kl=self(feats).square().mean())


def test_no_loss_hides_another():
    head = STClsHead(OwnDivergence(3, 8), PLAIN_KL, subnet_target='both')
    main, small = map(features, (0, 1))
    head.loss(main, samples([0] * 4))
    loss = in_subnet(head, small, samples([0] * 4))['loss_kl']
    p, q = head(main), head(small)
    torch.testing.assert_close(loss, q.square().mean() + kl(p, q))


def test_main_logits_are_a_fixed_target():
    """Contract 4, whatever the loss does with them."""
    head = STClsHead(config_of())
    head.loss_kl = nn.MSELoss()  # it does not detach anything by itself
    main, small = (level(seed, 4, 8).requires_grad_() for seed in range(2))
    head.loss((main,), samples([0] * 4))
    in_subnet(head, (small,), samples([0] * 4))['loss_kl'].backward()
    assert main.grad is None and small.grad is not None


def test_subnet_before_main_is_refused():
    """So it is after an iteration has ended, and after a loss that failed."""
    head = STClsHead(config_of(), normalize_main=True)
    feats = features(0)
    data = samples([0] * 4)
    with pytest.raises(RuntimeError, match='run the main network'):
        in_subnet(head, feats, data)
    head.loss(feats, data)
    in_subnet(head, feats, data)
    head.forget()
    with pytest.raises(RuntimeError, match='run the main network'):
        in_subnet(head, feats, data)
    with pytest.raises(TypeError):
        head.loss(feats, [None] * 4)
    # Outside of its own methods, its output is as it is.
    assert torch.equal(head(feats), head.fc(feats[0]))


class Embedding(LinearClsHead):
    """Its classifier is a part of its loss."""

    def forward(self, feats):
        return feats[-1]


class Without(ClsHead):
    """Its loss and its scores are not those of its own output."""

    def loss(self, feats, data_samples):
        return dict(loss=feats[-1].sum())

    def predict(self, feats, data_samples=None):
        return data_samples


class Odd(ClsHead):
    def forward(self, feats):
        return dict(logits=feats[-1])

    def loss(self, feats, data_samples):
        return dict(loss=self(feats)['logits'].sum())


class Maps(ClsHead):
    """Logits for each pixel."""

    def forward(self, feats):
        return feats[-1][:, :, None, None]


@pytest.mark.parametrize(
    'make, message',
    [
        [lambda: Embedding(3, 8), r'Embedding.*\(4, 8\).*num_classes=3'],
        [Without, 'cannot wrap Without: its `loss` does not call the head'],
        [Odd, 'cannot wrap Odd: .*dict.*not logits'],
        [Maps, r'cannot wrap Maps: .*\(4, 8, 1, 1\).*not logits'],
    ],
)
def test_heads_without_logits_are_refused(make, message):
    """The advice in the refusal can be followed."""
    feats, data = features(0), samples([0] * 4)
    with pytest.raises(TypeError, match=message):
        STClsHead(make()).loss(feats, data)
    if make not in (Odd, Maps):  # these have no loss of labels
        head = STClsHead(make(), subnet_target='label')
        assert set(in_subnet(head, feats, data)) <= {'loss'}


def test_scores_that_cannot_be_normalised_are_refused():
    assert STClsHead(Without()).predict(features(0), []) == []
    with pytest.raises(TypeError, match='its `predict` does not call'):
        STClsHead(Without(), normalize_main=True).predict(features(0))


REID = dict(
    type='mmdet.LinearReIDHead',
    num_fcs=1,
    in_channels=8,
    fc_channels=6,
    out_channels=3,  # as many numbers as classes
    num_classes=3,
    loss_cls=dict(type='mmpretrain.CrossEntropyLoss'),
)
OTHERS = [
    config_of('MultiLabelLinearClsHead'),
    dict(
        type='MultiTaskHead',
        in_channels=8,
        task_heads=dict(a=dict(type='LinearClsHead', num_classes=3)),
    ),
    REID,
]


def build_other(config):
    """A head for another task, with features and samples for it."""
    if config is REID:
        structures = pytest.importorskip('mmdet.structures')
        data = [structures.ReIDDataSample().set_gt_label(i) for i in range(3)]
    elif 'task_heads' in config:
        data = [MultiTaskDataSample() for _ in range(3)]
        for label, sample in enumerate(data):
            sample.set_field(DataSample().set_gt_label(label), 'a')
    else:
        data = samples([[0, 1], [2], [1]])
    return MODELS.build(config), (level(0, 3, 8),), data


@pytest.mark.parametrize('config', OTHERS)
def test_other_tasks_are_refused_and_learn_from_labels(config):
    """The refusals say how: through the head's own loss."""
    plain, feats, data = build_other(config)
    name = type(plain).__name__
    told = (
        f"cannot wrap {name}: .*With subnet_target='label' and "
        'normalize_main=False in model.head'
    )
    for options in (
        dict(),
        dict(subnet_target='both'),
        dict(subnet_target='label', normalize_main=True),
    ):
        with pytest.raises(TypeError, match=told):
            STClsHead(copy.deepcopy(plain), **options)
    expected = plain.loss(feats, data)
    model = ImageClassifier(backbone=classifier()['backbone'], head=plain)
    with pytest.raises(ValueError, match=name) as caught:
        check_teaching_head(model)
    advice = re.search(r'write head=dict\((.*?), head=', str(caught.value))
    options = eval(f'dict({advice[1]})')
    assert options.pop('type') == 'mmst.STClsHead'
    model.head = head = STClsHead(plain, **options)
    check_teaching_head(model)
    for losses in (head.loss(feats, data), in_subnet(head, feats, data)):
        torch.testing.assert_close(losses, expected)


class Whole(BaseClassifier):
    """A network as a whole, as TimmClassifier and HuggingFaceClassifier."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


def test_advice_fits_the_model():
    told = 'Whole has no mmpretrain head.*TIMMBackbone'
    with pytest.raises(ValueError, match=told):
        check_teaching_head(Whole())
    model = MODELS.build(classifier(st=False))
    with pytest.raises(ValueError, match='model.head is LinearClsHead: set'):
        check_teaching_head(model)
    check_teaching_head(MODELS.build(classifier()))


@pytest.mark.parametrize('num_classes', [2, 3])
@pytest.mark.parametrize('kind', ['LinearClsHead', 'VigClsHead'])
def test_two_classes_are_not_standardised(num_classes, kind):
    """VigClsHead does not say how many it has before it runs."""

    def run(normalize, **options):
        config = config_of(kind, num_classes=num_classes)
        head = STClsHead(
            config, dict(PLAIN_KL, normalize=normalize), **options
        )
        head.loss(features(0), samples([0] * 4))

    for normalize in (None, 'l2'):
        run(normalize)
    run('standardize', subnet_target='label')  # without KL-
    refused = pytest.raises(ValueError, match="to 'l2' or None")
    with refused if num_classes == 2 else nullcontext():
        run('standardize')


class OwnSigmoidLoss(nn.Module):
    """One that mmpretrain does not have and that has no flag."""

    def forward(self, logits, labels, **kwargs):
        targets = F.one_hot(labels, logits.shape[1])
        return -(logits.sigmoid() * targets).sum(1).log().mean()


@pytest.mark.parametrize(
    'loss, expected',
    [
        [CrossEntropyLoss(), True],
        [CrossEntropyLoss(use_soft=True), True],
        [CrossEntropyLoss(use_sigmoid=True), False],
        [LabelSmoothLoss(0.1, num_classes=4), True],
        [LabelSmoothLoss(0.1, num_classes=4, mode='multi_label'), False],
        [LabelSmoothLoss(0.1, num_classes=4, use_sigmoid=True), False],
        [SeesawLoss(num_classes=4), True],
        [FocalLoss(), False],
        [AsymmetricLoss(), False],
        [AsymmetricLoss(use_sigmoid=False), True],
        [nn.CrossEntropyLoss(), True],
        [nn.BCEWithLogitsLoss(), False],
        [OwnSigmoidLoss(), False],
    ],
    ids=lambda value: type(value).__name__,
)
def test_losses_are_asked(loss, expected):
    before = copy.deepcopy(loss.state_dict())
    assert is_of_softmax(loss, 4) is expected
    for key, value in loss.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_normalised_logits_and_sigmoids_are_refused():
    config = config_of(loss=dict(type='CrossEntropyLoss', use_sigmoid=True))
    told = 'LinearClsHead.*CrossEntropyLoss.*normalize_main=False.*use_sigmoid'
    with pytest.raises(ValueError, match=told):
        STClsHead(config, STANDARDIZE, normalize_main=True)
    STClsHead(config, STANDARDIZE)  # as they are they learn


@pytest.mark.parametrize('num_classes', [3, None])
def test_a_recipe_that_switches_to_sigmoids_is_refused(num_classes):
    """In the first loss after the switch, also if the classes are not said."""
    head = STClsHead(config_of(), STANDARDIZE, normalize_main=True)
    head.num_classes = num_classes
    feats, data = features(0), samples([0] * 4)
    head.loss(feats, data)
    head.loss_module = LabelSmoothLoss(0.1, num_classes=3)
    expected = F.cross_entropy(
        head.normalize_main_logits(head(feats)),
        torch.zeros(4, dtype=torch.long),
        label_smoothing=0.1,
    )
    torch.testing.assert_close(head.loss(feats, data)['loss'], expected)
    head.loss_module = LabelSmoothLoss(0.1, num_classes=3, mode='multi_label')
    with pytest.raises(ValueError, match='uses sigmoids'):
        head.loss(feats, data)
