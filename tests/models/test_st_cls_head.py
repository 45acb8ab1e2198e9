"""Losses and scores of real heads of mmpretrain that teach subnets."""

import copy
import re

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


def config_of(kind='LinearClsHead', **options):
    return dict(type=kind, num_classes=3, in_channels=8, **options)


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
]


def standardized(logits):
    return F.layer_norm(logits, (3,), eps=1e-7) * 2


@pytest.mark.parametrize('normalize_main', [False, True])
@pytest.mark.parametrize('config, features', HEADS)
def test_main_and_subnet_losses(config, features, normalize_main):
    plain = MODELS.build(config)
    loss_kl = dict(PLAIN_KL, loss_weight=0.7)
    if normalize_main:
        loss_kl.update(normalize='standardize', scale=2.0)
    head = STClsHead(copy.deepcopy(plain), loss_kl, normalize_main)
    data = samples([0, 2, 1, 1])
    main, small = features(0), features(1)
    normal = standardized if normalize_main else (lambda z: z)
    p, q = normal(plain(main)), normal(plain(small))

    losses = head.loss(main, data)
    expected = plain._get_loss(p, data)
    torch.testing.assert_close(losses['loss'], expected['loss'])
    assert list(losses) == list(expected)

    losses = in_subnet(head, small, data)
    assert list(losses) == ['loss_kl']
    torch.testing.assert_close(losses['loss_kl'], 0.7 * kl(p, q))
    # Scores through the logits that training sees; the classes are the same.
    predictions = head.predict(main), p.softmax(1), plain.predict(main)
    for ours, score, theirs in zip(*predictions):
        torch.testing.assert_close(ours.pred_score, score)
        assert torch.equal(ours.pred_label, theirs.pred_label)
    assert torch.equal(head(main), plain(main))


@pytest.mark.parametrize('normalize_main', [False, True])
@pytest.mark.parametrize('target', ['main', 'label', 'both'])
def test_what_subnets_learn_from(target, normalize_main):
    """The labels by the head's own loss, the main network by divergence."""
    plain = MODELS.build(config_of())
    head = STClsHead(
        copy.deepcopy(plain),
        dict(STANDARDIZE, scale=2.0),
        normalize_main,
        subnet_target=target,
    )
    main, small = map(features, (0, 1))
    labels = [0, 2, 1, 1]
    if target != 'label':
        head.loss(main, samples(labels))
    losses = in_subnet(head, small, samples(labels))
    p, q = (standardized(plain(x)) for x in (main, small))
    expected = {}
    if target != 'main':
        logits = q if normalize_main else plain(small)
        expected['loss'] = F.cross_entropy(logits, torch.tensor(labels))
    if target != 'label':
        expected['loss_kl'] = kl(p, q)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


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


def test_head_with_two_classifiers():
    """Conformer's head gives two sets of logits: each is taught by its own."""
    config = dict(type='ConformerHead', num_classes=3, in_channels=[8, 6])
    plain = MODELS.build(config)
    head = STClsHead(copy.deepcopy(plain), PLAIN_KL)
    main, small = ([[level(s, 4, 8), level(s + 1, 4, 6)]] for s in (0, 5))
    data = samples([0, 1, 2, 0])
    torch.testing.assert_close(
        head.loss(main, data)['loss'], plain.loss(main, data)['loss']
    )
    expected = sum(kl(m, s) for m, s in zip(plain(main), plain(small)))
    torch.testing.assert_close(
        in_subnet(head, small, data)['loss_kl'], expected
    )


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


class Difference(nn.Module):
    """A loss that does not detach anything by itself."""

    def forward(self, subnet, main):
        return (subnet - main).sum()


def test_main_logits_are_a_fixed_target():
    """Contract 4, whatever the loss does with them."""
    head = STClsHead(config_of())
    head.loss_kl = Difference()
    main, small = (level(seed, 4, 8).requires_grad_() for seed in range(2))
    head.loss((main,), samples([0] * 4))
    in_subnet(head, (small,), samples([0] * 4))['loss_kl'].backward()
    assert main.grad is None and small.grad is not None


@pytest.mark.parametrize('target', ['main', 'both'])
def test_margin_of_labels_is_no_part_of_what_is_taught(target):
    """ArcFace lowers the logits of the labels in its loss."""
    config = config_of('ArcFaceClsHead')
    plain = MODELS.build(config)
    head = STClsHead(
        copy.deepcopy(plain), loss_kl=PLAIN_KL, subnet_target=target
    )
    main, small = map(features, (0, 1))
    data = samples([0, 1, 2, 0])
    head.loss(main, data)
    losses = in_subnet(head, small, data)
    directions = F.normalize(plain.norm_product.weight)
    p, q = (
        (plain.scale * F.normalize(x) @ directions.T) for (x,) in (main, small)
    )
    torch.testing.assert_close(losses['loss_kl'], kl(p, q))
    if target == 'both':
        torch.testing.assert_close(
            losses['loss'], plain.loss(small, data)['loss']
        )


def test_subnet_before_main_is_refused():
    """Also after the end of an iteration, and after a loss that failed."""
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
    config_of('CSRAClsHead', num_heads=1, lam=0.1),
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
    shape = (3, 8, 2, 2) if 'CSRA' in config['type'] else (3, 8)
    return MODELS.build(config), (level(0, *shape),), data


@pytest.mark.parametrize('config', OTHERS)
def test_other_tasks_are_refused_and_learn_from_labels(config):
    """As the refusals say: through the head's own loss."""
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


def test_image_retriever():
    """Its network is its ``image_encoder``; its head teaches all the same."""
    config = classifier()
    arc = dict(type='ArcFaceClsHead', num_classes=4, in_channels=16)
    retriever = dict(
        type='ImageToImageRetriever',
        image_encoder=[config['backbone'], config['neck']],
        head=dict(type='mmst.STClsHead', head=arc, loss_kl=PLAIN_KL),
        prototype=torch.rand(4, 16),
    )
    model = MODELS.build(retriever)
    check_teaching_head(model)
    images = batch(double=False)['inputs'] / 255
    main = model.head(model.extract_feat(images))
    model.loss(images, samples([0, 1, 2, 3, 0, 1]))
    with activate(model.image_encoder[0], SUBNET):
        subnet = model.head(model.extract_feat(images))
        losses = model.loss(images, samples([0] * 6))
    assert list(losses) == ['loss_kl']
    torch.testing.assert_close(losses['loss_kl'], kl(main, subnet))


@pytest.mark.parametrize('num_classes', [2, 3])
@pytest.mark.parametrize('kind', ['LinearClsHead', 'VigClsHead'])
def test_two_classes_are_not_standardised(num_classes, kind):
    """VigClsHead does not say how many it has before it runs."""

    def run(normalize, **options):
        head = STClsHead(
            dict(type=kind, num_classes=num_classes, in_channels=8),
            dict(type='mmst.KLMinusLoss', normalize=normalize),
            **options,
        )
        head.loss(features(0), samples([0] * 4))

    for normalize in (None, 'l2'):
        run(normalize)
    run('standardize', subnet_target='label')  # without KL-
    if num_classes == 2:
        with pytest.raises(ValueError, match="to 'l2' or None"):
            run('standardize')
    else:
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
    head.loss(feats, data)
    head.loss_module = LabelSmoothLoss(0.1, num_classes=3, mode='multi_label')
    with pytest.raises(ValueError, match='uses sigmoids'):
        head.loss(feats, data)
