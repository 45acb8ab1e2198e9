"""A head that teaches is the plain head in everything else."""

import copy
import pickle

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmpretrain.models.heads import ClsHead, LinearClsHead
from mmpretrain.registry import MODELS
from torch import nn

from mmst.checkpoints import strip_checkpoint
from mmst.engine.step import st_step
from mmst.models import STClsHead
from mmst.subnets import Subnet
from tests.conftest import batch, build_classifier, sgd
from tests.models.test_st_cls_head import config_of, samples
from tests.subnets.test_families import pickled

SUBNETS = [Subnet.ordered((1, 2, 1), (3, 3, 3))]
PLAIN = dict(type='LinearClsHead', num_classes=4, in_channels=16)
HEADS = [
    PLAIN,
    config_of('ArcFaceClsHead'),
    config_of('StackedLinearClsHead', mid_channels=[6]),
    config_of('VisionTransformerClsHead'),
    dict(type='ConformerHead', num_classes=3, in_channels=[8, 6]),
    config_of('VigClsHead'),
    # These have a part that is itself called head.
    config_of('EfficientFormerClsHead', distillation=False),
    config_of('LeViTClsHead', distillation=False),
]


class LearnedLoss(nn.Module):
    """A loss between subnet and main network with a parameter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, subnet, main):
        return (self.weight * subnet - main).square().mean()


def names(model):
    return [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize('config', HEADS)
def test_it_is_the_plain_head(config, tmp_path):
    """So are its class, names and their order; checkpoints load both ways."""
    models = [nn.Module() for _ in range(2)]
    for model in models:
        model.head = MODELS.build(config)
    st, plain = models
    kind, parts = type(st.head), dict(st.head.named_children())
    assert STClsHead(st.head) is st.head
    assert type(st.head).__name__ == f'ST{kind.__name__}'
    assert isinstance(st.head, STClsHead) and isinstance(st.head, kind)
    assert all(getattr(st.head, name) is part for name, part in parts.items())
    assert type(STClsHead(config)) is type(st.head)
    with pytest.raises(AttributeError, match='no_such'):
        _ = st.head.no_such
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
    state = plain.state_dict()
    missing, _ = state.popitem()
    with pytest.raises(RuntimeError, match=missing):
        st.load_state_dict(state)


def test_attributes_of_the_same_name_are_not_overwritten():
    class Own(LinearClsHead):
        loss_kl = 3

    with pytest.raises(TypeError, match=r"Own.*\['loss_kl'\] itself: rename"):
        STClsHead(Own(3, 8))
    with pytest.raises(TypeError, match='an STClsHead already'):
        STClsHead(STClsHead(PLAIN))


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
    """Some are made between the main pass and the subnets'."""
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


def test_a_loss_with_weights_is_trained_saved_and_not_published():
    """Its weights come last, as in checkpoints ever since."""
    plain = build_classifier(st=False)
    st, other = (
        build_classifier(loss_kl=dict(type=LearnedLoss)) for _ in range(2)
    )
    key = 'head.loss_kl.weight'
    assert names(st) == [*names(plain), key]
    assert [*st.state_dict()] == [*plain.state_dict(), key]
    st_step(st, batch(), sgd(st), SUBNETS)
    assert st.head.loss_kl.weight != 1.0
    other.load_state_dict(st.state_dict())
    assert other.head.loss_kl.weight == st.head.loss_kl.weight
    with pytest.warns(UserWarning, match=f'{key}.* left out'):
        published = strip_checkpoint(dict(state_dict=st.state_dict()))
    plain.load_state_dict(published['state_dict'])


def test_a_head_without_layers():
    """The backbone's output may be logits itself."""
    head = STClsHead(dict(type='ClsHead'))
    assert isinstance(head, ClsHead) and type(head).__name__ == 'STClsHead'
    feats = (torch.rand(2, 16),)
    assert torch.equal(head(feats), feats[0])
    assert torch.equal(pickle.loads(pickle.dumps(head))(feats), feats[0])
