"""What the runner of passes does with all sorts of networks and passes."""

import copy
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmst.subnets import PassRunner, Subnet, find_stages
from tests.conftest import most_saved
from tests.subnets import test_families as families
from tests.subnets.passes_apart import (
    apart,
    assert_equal,
    check,
    count_calls,
    loss_of,
    shared,
    train_without_chance,
)


def resnet(**options):
    model = families.resnet(out_indices=(0, 1, 2, 3), **options)
    model.train()  # which returns None
    return model


FULL = (2, 2, 2, 2)
SUBNETS = [
    Subnet.ordered(depths, FULL)
    for depths in [(2, 2, 1, 2), (1, 2, 1, 2), (2, 2, 1, 1), (2, 1, 2, 2)]
]
# The same for all passes, whichever tests are collected before.
IMAGES = [
    torch.rand(
        4, 3, 64, 64, generator=torch.Generator().manual_seed(0)
    ).double()
] * 8


def checkpoint_forward(*modules, use_reentrant):
    """Gradient checkpointing as MMEngine turns it on, from outside."""
    for module in modules:
        module.forward = partial(
            checkpoint, module.forward, use_reentrant=use_reentrant
        )


def list_blocks(model):
    return [b.module for stage in find_stages(model) for b in stage.blocks]


def freeze(*modules):
    nn.ModuleList(modules).requires_grad_(False)


# What is done to a network; how often the first block then runs for passes
# that all share it, checkpointing included.
CHANGES = dict(
    plain=(lambda model: None, 1),
    with_cp=(
        lambda model: [
            setattr(module, 'with_cp', True)
            for module in model.modules()
            if hasattr(module, 'with_cp')
        ],
        2,
    ),
    reentrant=(
        lambda m: checkpoint_forward(*list_blocks(m), use_reentrant=True),
        2,
    ),
    not_reentrant=(
        lambda m: checkpoint_forward(*list_blocks(m), use_reentrant=False),
        2,
    ),
    second_stage=(
        lambda model: checkpoint_forward(model.layer2, use_reentrant=True),
        1,
    ),
    first_stage=(
        lambda model: checkpoint_forward(model.layer1, use_reentrant=False),
        None,  # not shared: each pass runs it twice
    ),
    frozen_stem=(lambda m: freeze(m.conv1, m.norm1), 1),
    frozen_stage=(lambda m: freeze(m.layer2), 1),
    frozen_blocks=(lambda m: freeze(m.conv1, m.norm1, m.layer1, m.layer2), 1),
)
NORMS = dict(
    BN=dict(type='BN'),
    IN=dict(type='IN', affine=True, track_running_stats=True),
)


@pytest.mark.filterwarnings('ignore:.*use_reentrant')
@pytest.mark.filterwarnings('ignore:None of the inputs')
@pytest.mark.parametrize('first', [[None], []], ids=['main', 'subnets'])
@pytest.mark.parametrize(
    'norm, change',
    [('BN', change) for change in CHANGES]
    # mmpretrain's own checkpointing cannot be had with IN.
    + [('IN', change) for change in CHANGES if change != 'with_cp'],
)
def test_checkpointed_and_frozen(norm, change, first):
    """Running statistics too: a checkpointed main pass updates them twice."""
    change, runs = CHANGES[change]

    def make():
        model = resnet(norm_cfg=NORMS[norm])
        change(model)
        return model

    subnets = [*first, *SUBNETS[:1], *SUBNETS[2:], SUBNETS[0]]
    counts = check(
        make, IMAGES, subnets, lambda m: [m.maxpool, m.layer1[0].conv1]
    )
    assert counts == [1, runs or 2 * len(subnets)]


def test_layers_between_stages_run_once():
    swin = families.build('mmdet.SwinTransformer', dict(embed_dims=24))
    train_without_chance(swin)
    counts = count_calls(
        [swin.patch_embed, *(stage.downsample for stage in swin.stages[:3])]
    )
    # The first differs in the last stage, the second already in the third.
    depths = [(2, 2, 6, 1), (2, 2, 4, 1)]
    subnets = [Subnet.ordered(d, (2, 2, 6, 2)) for d in depths]
    shared(swin, IMAGES, [None, *subnets])
    assert list(counts.values()) == [1, 1, 1, 2]


@pytest.mark.parametrize('inputs', [(0, 0, 1, 1, 0), (1, 0, 2, 2, 1)])
def test_passes_on_several_inputs(inputs):
    """They share where the input is the same; losses keep their order."""
    model, other = resnet(), resnet()
    subnets = [None, *SUBNETS]
    images = [IMAGES[0][..., : 48 + 8 * n, : 48 + 8 * n] for n in inputs]
    expected = apart(other, images, subnets)
    counts = count_calls([model.conv1])
    order = []

    def loss(subnet):
        order.append(subnets.index(subnet))
        return loss_of(model, images[order[-1]], order[-1])

    losses = PassRunner(model).run(subnets, loss, inputs)
    assert_equal(model, other, losses, expected)
    # Inputs in the order of their first passes, the main network first.
    assert [inputs[i] for i in order] == sorted(inputs, key=inputs.index)
    assert order[0] == 0 and sorted(order) == [0, 1, 2, 3, 4]
    assert counts[model.conv1] == len(set(inputs))


def test_nothing_is_shared_where_every_subnet_updates_statistics():
    subnets = [None, *SUBNETS]
    options = dict(update_running_stats=True)
    counts = check(resnet, IMAGES, subnets, lambda m: [m.layer1[0]], **options)
    assert counts == [len(subnets)]


def test_gradients_add_up_and_are_scaled():
    """Earlier gradients stay; a loss scaler scales all alike."""
    model, other = resnet(), resnet()
    subnets = [None, *SUBNETS]
    expected = apart(other, IMAGES, subnets)
    for ours, theirs in zip(model.parameters(), other.parameters()):
        theirs.grad = 1024 * theirs.grad + 1
        ours.grad = torch.ones_like(ours)
    losses = PassRunner(model).run(
        subnets,
        lambda subnet: loss_of(model, IMAGES[0], subnets.index(subnet)),
        backward=lambda loss: (1024 * loss).backward(),
    )
    assert_equal(model, other, losses, expected)


def in_bfloat16(model):
    """Let it run in mixed precision; what it gives is in float32."""
    run = model.forward

    def forward(images):
        with torch.autocast('cpu', torch.bfloat16):
            return [feature.float() for feature in run(images)]

    model.forward = forward
    return model


def test_mixed_precision():
    """Copies keep the precision of what they copy.

    Gradients in bfloat16 are added up in another order, which changes them
    by far less than bfloat16 itself does.
    """
    exact, seen = resnet().float(), []
    model, other = (in_bfloat16(copy.deepcopy(exact)) for _ in range(2))
    model.layer4[0].register_forward_hook(
        lambda module, args, out: seen.append((args[0].dtype, out.dtype))
    )
    images, subnets = [IMAGES[0].float()] * 5, [None, *SUBNETS]
    apart(exact, images, subnets)
    expected = apart(other, images, subnets)
    losses = shared(model, images, subnets)
    assert torch.equal(torch.stack(losses), torch.stack(expected).detach())
    assert set(sum(seen, ())) == {torch.bfloat16}

    def distance(one, two):
        return sum(
            (a.grad - b.grad).square().sum()
            for a, b in zip(one.parameters(), two.parameters())
        ).sqrt()

    assert distance(model, other) < 0.25 * distance(other, exact)


@pytest.mark.parametrize('first', [[None], []], ids=['main', 'subnets'])
def test_memory_is_that_of_one_pass(first):
    """Whatever the number of subnets."""
    subnets = [Subnet.ordered(d, FULL) for d in [FULL, (2, 2, 2, 1)] * 3]

    def most(num_subnets):
        model = resnet()
        passes = [*first, *subnets[:num_subnets]]
        return most_saved(lambda: shared(model, IMAGES, passes))

    assert most(6) == most(2) == most(1) > 0


@pytest.mark.parametrize('fail_at', [0, 2, 4])
@pytest.mark.parametrize('in_backward', [False, True])
def test_model_is_whole_after_an_exception(fail_at, in_backward):
    """Contract 8: in whatever pass; and the next iteration is as ever."""
    model, other = resnet(), resnet()
    runner, subnets = PassRunner(model), [None, *SUBNETS]
    numbers = []

    def fail(here):
        if here and len(numbers) == fail_at + 1:
            raise KeyError('on purpose')

    def loss(subnet):
        numbers.append(subnets.index(subnet))
        fail(not in_backward)
        return loss_of(model, IMAGES[0], numbers[-1])

    def backward(value):
        fail(in_backward)
        value.backward()

    with pytest.raises(KeyError, match='on purpose'):
        runner.run(subnets, loss, backward=backward)
    assert not any('forward' in vars(m) for m in model.modules())
    model.load_state_dict(other.state_dict())
    model.zero_grad()
    numbers.extend([0] * 5)  # nothing fails any more
    expected = apart(other, IMAGES, subnets)
    assert_equal(model, other, runner.run(subnets, loss), expected)


@pytest.mark.parametrize(
    'subnets, inputs, message',
    [
        ([SUBNETS[0], None], None, 'once, before all subnets'),
        ([None, None], None, 'once, before all subnets'),
        (SUBNETS[:2], 'abc', '2 passes but 3 inputs'),
    ],
)
def test_plans_that_are_refused(subnets, inputs, message):
    with pytest.raises(ValueError, match=message):
        PassRunner(resnet()).run(subnets, lambda subnet: None, inputs)


def two_views():
    """Runs twice, the second time on something else."""
    model = resnet()
    run = model.forward
    model.forward = lambda images: (run(images), run(images.flip(-1) * 2))
    return model


@pytest.mark.parametrize('first', [[None], []], ids=['main', 'subnets'])
def test_backbone_called_twice(first):
    check(two_views, IMAGES, [*first, *SUBNETS, SUBNETS[0]])


class Small(nn.Module):
    """Two stages of three convolutions."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3)
        for name in ('layer1', 'layer2'):
            layer = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(3)))
            for block in layer:
                block.downsample = None
            setattr(self, name, layer)
        self.act = nn.ReLU(inplace=True)
        self.double()

    def forward(self, images):
        return self.layer2(self.layer1(self.act(self.stem(images))))


SMALL = [Subnet.ordered(d, (3, 3)) for d in [(3, 3), (3, 2), (3, 1), (2, 3)]]


class Wayward(Small):
    """Turns two blocks round in every other pass, whatever the subnet."""

    calls = 0

    def forward(self, images):
        self.calls += 1
        blocks = [*self.layer1, *self.layer2]
        if self.calls % 2:
            blocks[1:3] = reversed(blocks[1:3])
        x = self.stem(images)
        for block in blocks:
            x = block(x)
        return x


class Early(Small):
    """Gives what its activation then writes into."""

    def forward(self, images):
        stem = self.stem(images)
        early = stem + 1
        return early, self.layer2(self.layer1(self.act(stem)))


class Masked(Small):
    """Draws at random between its blocks, and uses the draw twice."""

    def forward(self, images):
        x = self.layer1(self.act(self.stem(images)))
        mask = torch.rand(x.shape[-2:], dtype=x.dtype)
        return mask * self.layer2(mask * x)


class InPlace(Small):
    """Writes into a block's output after it was given."""

    def forward(self, images):
        x = self.layer1(self.act(self.stem(images)))
        return self.layer2(x.relu_())


@pytest.mark.parametrize(
    'network, runs', [(Wayward, None), (Early, [1, 2]), (Masked, [1, 4])]
)
def test_networks_that_part(network, runs):
    """By themselves, by chance: each is as apart from there on."""
    made = []

    def make():
        made.append(network())
        return made[-1]

    counts = check(make, IMAGES, SMALL, lambda m: [m.layer1[2], m.layer2[0]])
    assert runs in (None, counts)
    if network is Early:  # whose activation works in place again
        assert made[0].act.inplace and vars(made[0].act)['inplace']


@pytest.mark.parametrize('frozen', [False, True])
def test_function_that_overwrites_a_block(frozen):
    """Refused with its name; where nothing is trained it is run again."""

    def prepare(net):
        nn.ModuleList([net.stem, net.layer1]).requires_grad_(not frozen)

    refused = pytest.raises(RuntimeError, match='in-place.*share=False')
    with nullcontext() if frozen else refused:
        check(InPlace, IMAGES, SMALL, prepare=prepare)


def test_chance_is_drawn_once_for_what_is_shared():
    model = Small()
    model.act = nn.Dropout()
    seen = []
    model.layer2[0].register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach())
    )
    shared(model, IMAGES, SMALL[:3])
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


def test_what_follows_the_last_block_is_of_each_pass():
    """A head may know in which pass it runs."""
    model = Small()
    model.head = nn.Conv2d(4, 1, 1).double()
    counts = count_calls([model.head, model.layer2[2]])
    run = Small.forward
    model.forward = lambda images: model.head(run(model, images))
    shared(model, IMAGES, [SMALL[0]] * 3)
    assert list(counts.values()) == [3, 1]
