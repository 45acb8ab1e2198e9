"""The head wrapper around real heads of mmpretrain."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_checkpoint, save_checkpoint
from mmpretrain.engine.hooks import SwitchRecipeHook
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmst.engine.step import st_step
from mmst.models import STClsHead
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


# Head, its features as functions of a seed.
def level(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


HEADS = [
    (
        dict(type='LinearClsHead', num_classes=3, in_channels=8),
        lambda s: (level(s, 4, 8),),
    ),
    (
        dict(type='LinearClsHead', num_classes=3, in_channels=8),
        lambda s: (level(s, 4, 5), level(s + 10, 4, 8)),
    ),
    (
        dict(
            type='StackedLinearClsHead',
            num_classes=3,
            in_channels=8,
            mid_channels=[6],
        ),
        lambda s: (level(s, 4, 8),),
    ),
    (
        dict(type='VisionTransformerClsHead', num_classes=3, in_channels=8),
        lambda s: (level(s, 4, 8),),
    ),
    (
        dict(
            type='EfficientFormerClsHead',
            num_classes=3,
            in_channels=8,
            distillation=False,
        ),
        lambda s: (level(s, 4, 8),),
    ),
    (
        dict(
            type='LinearClsHead',
            num_classes=3,
            in_channels=8,
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
        ),
        lambda s: (level(s, 4, 8),),
    ),
]


@pytest.mark.parametrize('normalize_main', [False, True])
@pytest.mark.parametrize('config, features', HEADS)
def test_main_and_subnet_losses(config, features, normalize_main):
    plain = MODELS.build(config)
    loss_kl = dict(type='mmst.KLMinusLoss', normalize=None, loss_weight=0.7)
    if normalize_main:
        loss_kl.update(normalize='standardize', scale=2.0)
    head = STClsHead(copy.deepcopy(plain), loss_kl, normalize_main)
    data = samples([0, 2, 1, 1])
    main, small = features(0), features(1)

    losses = head.loss(main, data)
    if normalize_main:
        logits = F.layer_norm(plain(main), (3,), eps=1e-7) * 2
        expected = (
            plain._get_loss(logits, data)
            if hasattr(plain, '_get_loss')
            else None
        )
        targets = (logits, F.layer_norm(plain(small), (3,), eps=1e-7) * 2)
    else:
        expected = plain.loss(main, data)
        targets = plain(main), plain(small)
    torch.testing.assert_close(losses['loss'], expected['loss'])
    assert list(losses) == list(expected)

    losses = in_subnet(head, small, data)
    assert list(losses) == ['loss_kl']
    torch.testing.assert_close(losses['loss_kl'], 0.7 * kl(*targets))
    # Scores through the logits that training sees; the classes are the same.
    scores = targets[0].softmax(1)
    for ours, score, theirs in zip(
        head.predict(main), scores, plain.predict(main)
    ):
        torch.testing.assert_close(ours.pred_score, score)
        assert torch.equal(ours.pred_label, theirs.pred_label)
    assert torch.equal(head(main), plain(main))
    assert not head.head._forward_hooks


@pytest.mark.parametrize('normalize_main', [False, True])
@pytest.mark.parametrize('target', ['main', 'label', 'both'])
def test_what_subnets_learn_from(target, normalize_main):
    """The labels by the head's own loss, the main network by divergence."""
    plain = MODELS.build(HEADS[0][0])
    head = STClsHead(
        copy.deepcopy(plain),
        dict(type='mmst.KLMinusLoss', normalize='standardize', scale=2.0),
        normalize_main,
        subnet_target=target,
    )
    main, small = ((level(seed, 4, 8),) for seed in (0, 1))
    labels = [0, 2, 1, 1]
    if target != 'label':
        head.loss(main, samples(labels))
    losses = in_subnet(head, small, samples(labels))
    p, q = (F.layer_norm(plain(x), (3,), eps=1e-7) * 2 for x in (main, small))
    expected = {}
    if target != 'main':
        logits = q if normalize_main else plain(small)
        expected['loss'] = F.cross_entropy(logits, torch.tensor(labels))
    if target != 'label':
        expected['loss_kl'] = kl(p, q)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_mixed_labels_reach_subnets_that_learn_from_labels():
    config = classifier()
    config['head']['subnet_target'] = 'label'
    config['train_cfg'] = dict(augments=dict(type='Mixup', alpha=1.0))
    model = MODELS.build(config)
    model.train()
    log = st_step(
        model,
        batch(double=False),
        sgd(model, lr=0.0),
        [Subnet.ordered(FULL, FULL)],
    )
    torch.testing.assert_close(log['subnet0_loss'], log['main_loss'])


def test_cosine_loss_of_mmpretrain():
    """An option of the released code, which mmpretrain has."""
    cosine = dict(type='mmpretrain.CosineSimilarityLoss', shift_factor=1.0)
    head = STClsHead(HEADS[0][0], cosine)
    main, small = ((level(seed, 4, 8),) for seed in (0, 1))
    head.loss(main, samples([0] * 4))
    angles = F.cosine_similarity(head(main), head(small))
    torch.testing.assert_close(
        in_subnet(head, small, samples([0] * 4))['loss_kl'],
        (1 - angles).mean(),
    )
    with pytest.raises(TypeError, match='CosineSimilarityLoss does not'):
        STClsHead(HEADS[0][0], cosine, normalize_main=True)


def test_unknown_target_is_refused():
    with pytest.raises(ValueError, match="subnet_target 'teacher' is not one"):
        STClsHead(HEADS[0][0], subnet_target='teacher')


def test_head_with_two_classifiers():
    """Conformer's head gives two sets of logits: each is taught by its own."""
    config = dict(type='ConformerHead', num_classes=3, in_channels=[8, 6])
    plain = MODELS.build(config)
    head = STClsHead(
        copy.deepcopy(plain), dict(type='mmst.KLMinusLoss', normalize=None)
    )
    main, small = ([[level(s, 4, 8), level(s + 1, 4, 6)]] for s in (0, 5))
    data = samples([0, 1, 2, 0])
    torch.testing.assert_close(
        head.loss(main, data)['loss'], plain.loss(main, data)['loss']
    )
    expected = sum(kl(m, s) for m, s in zip(plain(main), plain(small)))
    torch.testing.assert_close(
        in_subnet(head, small, data)['loss_kl'], expected
    )


@pytest.mark.parametrize('augment', ['Mixup', 'CutMix'])
def test_mixed_labels(augment):
    """Soft labels go to the main loss; subnets see the mixed images."""
    config = classifier(loss_kl=dict(type='mmst.KLMinusLoss', normalize=None))
    config['train_cfg'] = dict(augments=dict(type=augment, alpha=1.0))
    model = MODELS.build(config)
    model.train()
    seen = []
    model.backbone.register_forward_pre_hook(
        lambda m, args: seen.append(args[0])
    )
    log = st_step(
        model,
        batch(double=False),
        sgd(model, lr=0.0),
        [Subnet.ordered((1, 1, 1), FULL), Subnet.ordered(FULL, FULL)],
    )
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(
        seen[0], (batch(double=False)['inputs'] - 127.5) / 64
    )
    assert log['subnet0_loss'] > 0
    # The full depth on the same input is the main network once more.
    assert abs(log['subnet1_loss']) < 1e-6


class Difference(torch.nn.Module):
    """A loss that does not detach anything by itself."""

    def forward(self, subnet, main):
        return (subnet - main).sum()


def test_main_logits_are_a_fixed_target():
    """Contract 4, whatever the loss does with them."""
    head = STClsHead(HEADS[0][0])
    head.loss_kl = Difference()
    main, small = (level(seed, 4, 8).requires_grad_() for seed in range(2))
    head.loss((main,), samples([0] * 4))
    in_subnet(head, (small,), samples([0] * 4))['loss_kl'].backward()
    assert main.grad is None and small.grad is not None


def test_main_pass_that_fails_leaves_no_hook():
    head = STClsHead(HEADS[0][0], normalize_main=True)
    with pytest.raises(TypeError):
        head.loss((level(0, 4, 8),), [None] * 4)
    assert not head.head._forward_hooks


class Without(torch.nn.Module):
    """A head whose loss and scores are not those of its own logits."""

    def forward(self, feats):
        return dict(logits=feats[-1])

    def loss(self, feats, data_samples):
        return dict(loss=feats[-1].sum())

    def predict(self, feats, data_samples=None):
        return data_samples


class Odd(Without):
    """A head whose output is no logits."""

    def loss(self, feats, data_samples):
        return dict(loss=self(feats)['logits'].sum())


@pytest.mark.parametrize(
    'kind, message',
    [
        (Without, 'cannot wrap Without: its `loss` does not call the head'),
        (Odd, 'needs a head that returns one or several tensors'),
    ],
)
def test_heads_without_logits_are_refused(kind, message):
    with pytest.raises(TypeError, match=message):
        STClsHead(kind()).loss((level(0, 4, 8),), samples([0] * 4))


def test_scores_that_cannot_be_normalised_are_refused():
    assert STClsHead(Without()).predict((level(0, 4, 8),), []) == []
    with pytest.raises(TypeError, match='its `predict` does not call'):
        STClsHead(Without(), normalize_main=True).predict((level(0, 4, 8),))


def test_subnet_before_main_is_refused():
    head = STClsHead(HEADS[0][0])
    with pytest.raises(RuntimeError, match='run the main network'):
        in_subnet(head, (level(0, 4, 8),), samples([0] * 4))


@pytest.mark.parametrize('num_classes', [2, 3])
def test_two_classes_are_not_standardised(num_classes):
    def wrap(normalize):
        return STClsHead(
            dict(type='LinearClsHead', num_classes=num_classes, in_channels=8),
            dict(type='mmst.KLMinusLoss', normalize=normalize),
        )

    for normalize in (None, 'l2'):
        wrap(normalize)
    if num_classes == 2:
        with pytest.raises(ValueError, match="to 'l2' or None"):
            wrap('standardize')
    else:
        wrap('standardize')


@pytest.mark.parametrize(
    'config',
    [
        dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=8),
        dict(
            type='MultiTaskHead',
            in_channels=8,
            task_heads=dict(a=dict(type='LinearClsHead', num_classes=3)),
        ),
    ],
)
def test_other_tasks_are_refused(config):
    with pytest.raises(TypeError, match='cannot wrap Multi.*one label'):
        STClsHead(config)


def test_checkpoint_keys_are_the_plain_heads(tmp_path):
    """Contract 6, both ways, strictly, through PyTorch and MMEngine."""
    st, plain = (MODELS.build(classifier(st=flag)) for flag in (True, False))
    assert list(st.state_dict()) == list(plain.state_dict())
    for source, target in ((st, plain), (plain, st)):
        for parameter in source.parameters():
            parameter.data.normal_()
        target.load_state_dict(source.state_dict(), strict=True)
        for a, b in zip(source.parameters(), target.parameters()):
            assert torch.equal(a, b)
        for parameter in source.parameters():
            parameter.data.normal_()
        path = str(tmp_path / 'model.pth')
        save_checkpoint(dict(state_dict=source.state_dict()), path)
        load_checkpoint(target, path, strict=True)
        for a, b in zip(source.parameters(), target.parameters()):
            assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match='fc.bias'):
        state = plain.state_dict()
        del state['head.fc.bias']
        st.load_state_dict(state)


@pytest.mark.parametrize(
    'config',
    [config for config, _ in HEADS]
    + [
        dict(
            type='LeViTClsHead',
            num_classes=3,
            in_channels=8,
            distillation=False,
        )
    ],
)
def test_keys_of_other_heads(config):
    """Contract 6; some heads have a part that is itself called head."""
    models = [torch.nn.Module() for _ in range(2)]
    for wrap, model in zip((STClsHead, lambda head: head), models):
        model.head = wrap(MODELS.build(config))
    st, plain = models
    assert list(st.state_dict()) == list(plain.state_dict())
    for source, target in ((st, plain), (plain, st)):
        for parameter in source.parameters():
            parameter.data.normal_()
        target.load_state_dict(source.state_dict(), strict=True)
        for a, b in zip(source.parameters(), target.parameters()):
            assert torch.equal(a, b)


def test_moving_average_has_the_same_keys():
    st, plain = (MODELS.build(classifier(st=flag)) for flag in (True, False))
    averages = [ExponentialMovingAverage(model) for model in (st, plain)]
    assert list(averages[0].state_dict()) == list(averages[1].state_dict())
    averages[0].update_parameters(st)
    averages[1].load_state_dict(averages[0].state_dict())


def test_same_initial_weights_as_the_plain_head():
    models = []
    for flag in (True, False):
        torch.manual_seed(3)
        model = MODELS.build(classifier(st=flag))
        model.init_weights()
        models.append(model)
    for a, b in zip(*(model.parameters() for model in models)):
        assert torch.equal(a, b)


def test_attributes_of_the_wrapped_head():
    head = STClsHead(HEADS[0][0])
    assert head.num_classes == 3 and head.fc is head.head.fc
    with pytest.raises(AttributeError, match='no_such'):
        _ = head.no_such


def test_hooks_change_the_wrapped_head():
    """mmpretrain's recipes swap the loss in mid-training."""
    model = MODELS.build(classifier())
    loss_module = MODELS.build(
        dict(type='LabelSmoothLoss', label_smooth_val=0.5)
    )
    before = list(model.state_dict())
    SwitchRecipeHook._switch_loss(SimpleNamespace(model=model), loss_module)
    assert model.head.head.loss_module is loss_module
    feats, labels = (level(0, 4, 16),), [0, 1, 2, 3]
    loss = model.head.loss(feats, samples(labels))['loss']
    expected = F.cross_entropy(
        model.head.fc(feats[0]), torch.tensor(labels), label_smoothing=0.5
    )
    torch.testing.assert_close(loss, expected)
    assert list(model.state_dict()) == before
    model.head.normalize_main = True
    assert not hasattr(model.head.head, 'normalize_main')


def test_margin_of_labels_is_no_part_of_what_is_taught():
    """ArcFace lowers the logits of the labels in its loss."""
    head = STClsHead(
        dict(type='ArcFaceClsHead', num_classes=3, in_channels=8),
        loss_kl=dict(type='mmst.KLMinusLoss', normalize=None),
    )
    main, small = ((level(seed, 4, 8),) for seed in (0, 1))
    head.loss(main, samples([0, 1, 2, 0]))
    loss = in_subnet(head, small, samples([0, 1, 2, 0]))['loss_kl']
    directions = F.normalize(head.head.norm_product.weight)
    p, q = (
        (head.head.scale * F.normalize(x) @ directions.T)
        for (x,) in (main, small)
    )
    torch.testing.assert_close(loss, kl(p, q))
