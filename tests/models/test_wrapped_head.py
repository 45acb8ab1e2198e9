"""A head that teaches is the plain head in everything else."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.runner import load_checkpoint, save_checkpoint
from mmpretrain.engine.hooks import SetAdaptiveMarginsHook, SwitchRecipeHook
from mmpretrain.models.heads import ArcFaceClsHead, ClsHead, LinearClsHead
from mmpretrain.models.losses import LabelSmoothLoss
from mmpretrain.registry import MODELS
from torch import nn

from mmst.checkpoints import strip_checkpoint
from mmst.engine.step import st_step
from mmst.models import STClsHead
from mmst.subnets import Subnet
from tests.conftest import batch, build_classifier, classifier, load_run, sgd
from tests.models.test_st_cls_head import config_of, samples
from tests.subnets.test_families import pickled

SUBNETS = [Subnet.ordered((1, 2, 1), (3, 3, 3))]
PLAIN = dict(type='LinearClsHead', num_classes=4, in_channels=16)
ARC = dict(type='ArcFaceClsHead', num_classes=3, in_channels=16)
HEADS = [
    PLAIN,
    ARC,
    config_of('StackedLinearClsHead', mid_channels=[6]),
    config_of('VisionTransformerClsHead'),
    dict(type='ConformerHead', num_classes=3, in_channels=[8, 6]),
    config_of('VigClsHead'),
    # These have a part that is itself called head.
    config_of('EfficientFormerClsHead', distillation=False),
    config_of('LeViTClsHead', distillation=False),
]


@pytest.fixture
def learned_loss():
    """Register a loss between subnet and main network with a parameter."""

    @MODELS.register_module(force=True)
    class LearnedLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, subnet, main):
            return (self.weight * subnet - main).square().mean()

    yield dict(type='mmpretrain.LearnedLoss')
    del MODELS._module_dict['LearnedLoss']


def build_pair():
    """The tiny classifier with a head that teaches, and the plain one."""
    return [build_classifier(double=False, st=flag) for flag in (True, False)]


def names(model):
    return [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize('config', HEADS)
def test_names_and_keys(config, tmp_path):
    """Parameters, buffers and checkpoints, which load both ways."""
    models = [nn.Module() for _ in range(2)]
    for make, model in zip((STClsHead, MODELS.build), models):
        model.head = make(config)
    st, plain = models
    assert names(st) == names(plain)
    modules = [name for name, _ in plain.named_modules()]
    modules.append('head.loss_kl')
    assert [name for name, _ in st.named_modules()] == modules
    assert list(st.state_dict()) == list(plain.state_dict())
    path = str(tmp_path / 'model.pth')
    for source, target in ((st, plain), (plain, st)):
        for parameter in source.parameters():
            parameter.data.normal_()
        save_checkpoint(dict(state_dict=source.state_dict()), path)
        load_checkpoint(target, path, strict=True)
        for a, b in zip(source.parameters(), target.parameters()):
            assert torch.equal(a, b)
        target.load_state_dict(source.state_dict())
    state = plain.state_dict()
    missing, _ = state.popitem()
    with pytest.raises(RuntimeError, match=missing):
        st.load_state_dict(state)


@pytest.mark.parametrize('config', HEADS)
def test_it_is_both_kinds_of_head(config):
    plain = MODELS.build(config)
    parts = dict(vars(plain)['_modules'])
    kind = type(plain)
    head = STClsHead(plain)
    assert head is plain and type(head).__name__ == f'ST{kind.__name__}'
    assert isinstance(head, STClsHead) and isinstance(head, kind)
    assert isinstance(head, ArcFaceClsHead) is (config is ARC)
    assert all(getattr(head, name) is part for name, part in parts.items())
    assert type(STClsHead(config)) is type(head)
    with pytest.raises(AttributeError, match='no_such'):
        _ = head.no_such


def test_a_head_that_teaches_already_is_refused():
    with pytest.raises(TypeError, match='an STClsHead already'):
        STClsHead(STClsHead(PLAIN))


def test_attributes_of_the_same_name_are_not_overwritten():
    class Own(LinearClsHead):
        loss_kl = 3

    with pytest.raises(TypeError, match=r"Own.*\['loss_kl'\] itself: rename"):
        STClsHead(Own(3, 8))


@pytest.mark.parametrize(
    'duplicate',
    [
        copy.copy,
        copy.deepcopy,
        pickled,
        lambda head: pickle.loads(pickle.dumps(head)),
        lambda head: pickle.loads(pickle.dumps(head, protocol=2)),
        lambda head: head._replicate_for_data_parallel(),
    ],
)
def test_copies_and_pickles(duplicate):
    """Also those made between the main pass and the subnets'."""
    torch.manual_seed(0)
    options = dict(type='mmst.KLMinusLoss', normalize='standardize')
    head = STClsHead(PLAIN, options, normalize_main=True)
    feats = (torch.rand(2, 16),)
    data = samples([0, 1])
    loss = head.loss(feats, data)['loss']
    other = duplicate(head)
    assert type(other) is type(head) and other is not head
    assert torch.equal(other(feats), head(feats))
    assert torch.equal(other.loss(feats, data)['loss'], loss)
    assert other.state_dict().keys() == head.state_dict().keys()
    assert torch.equal(other._main_logits[0], head._main_logits[0])


@pytest.mark.parametrize('own', [None, dict(type='Normal', layer='Linear')])
def test_initial_weights(own):
    """The head's own config comes last, as the plain head's alone."""
    constant = dict(type='Constant', layer='Linear', val=0.5)
    for init_cfg in (None, constant, [constant]):
        weights = []
        for wraps in (False, True):
            torch.manual_seed(3)
            head = MODELS.build(dict(PLAIN, init_cfg=own))
            if wraps:
                head = STClsHead(head, init_cfg=init_cfg)
            head.init_weights()
            weights.append(head.fc.weight.detach())
        if own is None and init_cfg is not None:
            assert (weights[1] == 0.5).all()
        else:
            assert torch.equal(*weights)


def test_optimizer_settings_by_name():
    """A parameter gets what it gets in the plain model, in the same place."""
    keys = {'head.fc': dict(lr_mult=7.0)}
    config = dict(
        optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1),
        paramwise_cfg=dict(bias_decay_mult=0.0, custom_keys=keys),
    )
    st, plain = (
        [
            (group['lr'], group['weight_decay'], group['params'][0].shape)
            for group in build_optim_wrapper(model, config).param_groups
        ]
        for model in build_pair()
    )
    assert st == plain and [lr for lr, *_ in st].count(7.0) == 2


def test_freezing_by_name():
    """All but the head's last layer, whose names the checkpoint says."""
    model = build_classifier()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith('head.fc'))
    before = copy.deepcopy(model.state_dict())
    st_step(model, batch(), sgd(model), SUBNETS)
    changed = {
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert changed == {'head.fc.weight', 'head.fc.bias'}


def test_moving_average():
    st, plain = build_pair()
    averages = [
        ExponentialMovingAverage(model, momentum=0.5) for model in (st, plain)
    ]
    assert list(averages[0].state_dict()) == list(averages[1].state_dict())
    averages[0].update_parameters(st)
    first = st.head.fc.weight.detach().clone()
    st.head.fc.weight.data.normal_()
    averages[0].update_parameters(st)
    averages[1].load_state_dict(averages[0].state_dict())
    torch.testing.assert_close(
        averages[1].module.head.fc.weight, (first + st.head.fc.weight) / 2
    )


def test_hooks_see_the_logits_of_the_plain_head():
    """Normalised logits are for the head's own loss."""
    head = STClsHead(PLAIN, normalize_main=True)
    seen = []
    head.register_forward_hook(lambda *call: seen.append(call[-1]))
    feats = (torch.rand(2, 16),)
    head.loss(feats, samples([1, 1]))
    head.predict(feats)
    assert len(seen) == 2
    for logits in seen:
        assert torch.equal(logits, head.fc(feats[0]))


def test_recipes_switch_the_loss():
    """mmpretrain's hook does so in mid-training."""
    model = build_classifier(double=False)
    before = list(model.state_dict())
    loss = LabelSmoothLoss(0.5)
    SwitchRecipeHook._switch_loss(SimpleNamespace(model=model), loss)
    feats, labels = (torch.rand(4, 16),), [0, 1, 2, 3]
    loss = model.head.loss(feats, samples(labels))['loss']
    expected = F.cross_entropy(
        model.head.fc(feats[0]), torch.tensor(labels), label_smoothing=0.5
    )
    torch.testing.assert_close(loss, expected)
    assert list(model.state_dict()) == before


def test_margins_are_set_in_the_head():
    """The hook looks for an ArcFaceClsHead in model.head."""
    head = dict(type='mmst.STClsHead', head=ARC)
    model = MODELS.build(dict(classifier(), head=head))
    dataset = SimpleNamespace(get_gt_labels=lambda: [0, 1, 2, 2])
    loader = SimpleNamespace(dataset=dataset)
    SetAdaptiveMarginsHook().before_train(
        SimpleNamespace(model=model, train_dataloader=loader)
    )
    # Rare classes get larger margins.
    assert model.head.margins[0] > model.head.margins[2]


def test_parts_with_weights_are_saved(learned_loss):
    """Those of ``loss_kl`` come last, as in checkpoints ever since."""
    st = build_classifier(double=False, loss_kl=learned_loss)
    plain = build_classifier(double=False, st=False)
    assert names(st) == [*names(plain), 'head.loss_kl.weight']
    assert [*st.state_dict()] == [*plain.state_dict(), 'head.loss_kl.weight']
    st.head.scale = nn.Linear(2, 1)
    assert names(st)[-2:] == ['head.scale.weight', 'head.scale.bias']
    nn.init.constant_(st.head.loss_kl.weight, 5.0)
    other = build_classifier(double=False, loss_kl=learned_loss)
    other.head.scale = nn.Linear(2, 1)
    other.load_state_dict(st.state_dict())
    assert other.head.loss_kl.weight == 5.0
    assert torch.equal(other.head.scale.weight, st.head.scale.weight)


def test_a_learned_loss_is_resumed_and_not_published(
    learned_loss, tiny_runner, tmp_path
):
    model = classifier(loss_kl=learned_loss)

    def train(name, **options):
        runner = tiny_runner(
            name,
            model=copy.deepcopy(model),
            sampler=dict(),
            hooks=[dict(type='mmst.ReseedHook')],
            **options,
        )
        runner.train()
        return runner.model.state_dict()

    whole = train('whole')
    first = tmp_path / 'whole' / 'epoch_1.pth'
    again = train('again', load_from=str(first), resume=True)
    assert whole['head.loss_kl.weight'] != 1.0
    for key, value in whole.items():
        assert torch.equal(again[key], value), key

    plain = build_classifier(double=False, st=False)
    checkpoint = load_run(tmp_path / 'whole' / 'epoch_2.pth')
    surplus = plain.load_state_dict(checkpoint['state_dict'], strict=False)
    assert surplus.unexpected_keys == ['head.loss_kl.weight']
    with pytest.warns(UserWarning, match='head.loss_kl.weight.* left out'):
        published = strip_checkpoint(checkpoint)
    plain.load_state_dict(published['state_dict'])
    assert torch.equal(plain.head.fc.weight, whole['head.fc.weight'])


def test_optimizer_state_of_a_plain_run(tiny_runner, tmp_path):
    """It goes by order: the run goes on as the plain one would."""
    ends = []
    loop = 'EpochBasedTrainLoop'
    tiny_runner('plain', model=classifier(st=False), loop=loop).train()
    for name, st in (('st', True), ('again', False)):
        runner = tiny_runner(
            name,
            model=classifier(st=st),
            loop=loop,
            load_from=str(tmp_path / 'plain' / 'epoch_1.pth'),
            resume=True,
        )
        runner.train()
        ends.append(runner.model.state_dict())
    assert list(ends[0]) == list(ends[1])
    for key, value in ends[1].items():
        assert torch.equal(ends[0][key], value), key


def test_a_head_without_layers():
    """The backbone's output may be logits itself."""
    head = STClsHead(dict(type='ClsHead'))
    assert isinstance(head, ClsHead) and type(head).__name__ == 'STClsHead'
    feats = (torch.rand(2, 16),)
    assert torch.equal(head(feats), feats[0])
    assert torch.equal(pickle.loads(pickle.dumps(head))(feats), feats[0])
