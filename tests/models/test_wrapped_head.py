"""The wrapper and the head that it wraps: losses, hooks, copies, advice."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.engine.hooks import SetAdaptiveMarginsHook
from mmpretrain.models import BaseClassifier, ImageClassifier
from mmpretrain.models.heads import ArcFaceClsHead, LinearClsHead
from mmpretrain.models.losses import (
    AsymmetricLoss,
    CrossEntropyLoss,
    FocalLoss,
    LabelSmoothLoss,
    SeesawLoss,
)
from torch import nn

from mmst.models import STClsHead
from mmst.models.heads import check_teaching_head
from mmst.models.heads.softmax_check import is_of_softmax

PLAIN = dict(type='LinearClsHead', num_classes=4, in_channels=3)
ARC = dict(
    type='ArcFaceClsHead',
    num_classes=3,
    in_channels=8,
    loss=dict(type='CrossEntropyLoss'),
)
STANDARDIZE = dict(type='mmst.KLMinusLoss', normalize='standardize')


class OwnSigmoidLoss(nn.Module):
    """One that mmpretrain does not have and that has no flag."""

    def forward(self, logits, labels, **kwargs):
        targets = torch.nn.functional.one_hot(labels, logits.shape[1])
        return -(logits.sigmoid() * targets).sum(1).log().mean()


@pytest.mark.parametrize(
    'loss, expected',
    [
        (CrossEntropyLoss(), True),
        (CrossEntropyLoss(use_soft=True), True),
        (CrossEntropyLoss(use_sigmoid=True), False),
        (LabelSmoothLoss(0.1, num_classes=4), True),
        (LabelSmoothLoss(0.1, num_classes=4, mode='multi_label'), False),
        (LabelSmoothLoss(0.1, num_classes=4, use_sigmoid=True), False),
        (SeesawLoss(num_classes=4), True),
        (FocalLoss(), False),
        (AsymmetricLoss(), False),
        (AsymmetricLoss(use_sigmoid=False), True),
        (nn.CrossEntropyLoss(), True),
        (nn.BCEWithLogitsLoss(), False),
        (OwnSigmoidLoss(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_losses_are_asked(loss, expected):
    before = copy.deepcopy(loss.state_dict())
    assert is_of_softmax(loss, 4) is expected
    for key, value in loss.state_dict().items():
        assert torch.equal(value, before[key]), key


def sigmoid_head():
    return dict(PLAIN, loss=dict(type='CrossEntropyLoss', use_sigmoid=True))


def test_normalised_logits_and_sigmoids_are_refused():
    with pytest.raises(
        ValueError,
        match='LinearClsHead.*CrossEntropyLoss.*set normalize_main=False.*'
        'use_sigmoid=False',
    ):
        STClsHead(sigmoid_head(), STANDARDIZE, normalize_main=True)
    STClsHead(sigmoid_head(), STANDARDIZE)  # as they are they learn


def test_a_recipe_that_switches_to_sigmoids_is_refused():
    head = STClsHead(PLAIN, STANDARDIZE, normalize_main=True)
    head.loss_module = LabelSmoothLoss(0.1, num_classes=4)
    assert isinstance(head.head.loss_module, LabelSmoothLoss)
    with pytest.raises(ValueError, match='uses sigmoids'):
        head.loss_module = CrossEntropyLoss(use_sigmoid=True)


@pytest.mark.parametrize('wrapped', [False, True])
def test_margins_are_set_in_the_head(wrapped):
    """The hook looks for an ArcFaceClsHead in model.head."""
    head = dict(type='mmst.STClsHead', head=ARC) if wrapped else ARC
    model = ImageClassifier(
        backbone=dict(type='ResNet_CIFAR', depth=18), head=head
    )
    loader = SimpleNamespace(
        dataset=SimpleNamespace(get_gt_labels=lambda: [0, 1, 2, 2])
    )
    SetAdaptiveMarginsHook().before_train(
        SimpleNamespace(model=model, train_dataloader=loader)
    )
    inner = model.head.head if wrapped else model.head
    # Rare classes get larger margins.
    assert inner.margins[0] > inner.margins[2]
    assert 'margins' not in vars(model.head) or not wrapped


def test_the_wrapper_is_both_kinds_of_head():
    head = STClsHead(ARC)
    assert isinstance(head, STClsHead) and isinstance(head, ArcFaceClsHead)
    assert not isinstance(head, LinearClsHead)
    assert type(head) is STClsHead


@pytest.mark.parametrize(
    'duplicate', [copy.deepcopy, lambda head: pickle.loads(pickle.dumps(head))]
)
def test_copies_and_pickles(duplicate):
    torch.manual_seed(0)
    head = STClsHead(PLAIN, STANDARDIZE, normalize_main=True)
    other = duplicate(head)
    assert type(other) is STClsHead and other.head is not head.head
    feats = (torch.rand(2, 3),)
    assert torch.equal(other(feats), head(feats))
    assert other.state_dict().keys() == head.state_dict().keys()


class Whole(BaseClassifier):
    """A network as a whole, as TimmClassifier and HuggingFaceClassifier."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


def test_advice_fits_the_model():
    with pytest.raises(
        ValueError, match='Whole has no mmpretrain head.*TIMMBackbone'
    ):
        check_teaching_head(Whole())
    with pytest.raises(ValueError, match='model.head is LinearClsHead: set'):
        check_teaching_head(
            ImageClassifier(
                backbone=dict(type='ResNet_CIFAR', depth=18), head=PLAIN
            )
        )
