"""Amplitudes against numpy; what has no logits is refused."""

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from PIL import Image

from mmst.analysis.loafing import measure_loafing
from mmst.analysis.logit_amplitude import (
    Amplitudes,
    draw_amplitudes,
    format_amplitude_table,
    measure_amplitudes,
)
from mmst.evaluation import run_as_subnet
from mmst.subnets import activate
from tests.analysis.evaluation_by_hand import loader
from tests.analysis.pictures import axes_height, check_texts, long_name
from tests.conftest import TinyImages, classifier

NUM_VAL = 20
RESULTS = dict(
    CT=Amplitudes(
        'accuracy/top1',
        {'main': 90.0, '1-1': 40.0},
        {'main': 12.0, '1-1': 3.0},
    ),
    ST=Amplitudes(
        'accuracy/top1', {'main': 91.0, '1-1': 80.0}, {'main': 9.0, '1-1': 5.0}
    ),
)


@pytest.fixture
def runner(tiny_runner):
    """With GroupNorm, so that a subnet runs on the weights as they are."""

    def make(st=True, norm='GN'):
        return tiny_runner(
            model=classifier(st=st, norm=norm),
            train_dataloader=loader(12, 12),
            loop='EpochBasedTrainLoop',
            val_dataloader=loader(8, NUM_VAL),
            val_cfg=dict(),
            val_evaluator=dict(type='Accuracy', topk=(1,)),
        )

    return make


def by_numpy(model, depths):
    """Mean norm and accuracy, from the logits of all images at once."""
    data = TinyImages(NUM_VAL, flip=False)
    images = (data.images.float() - 127.5) / 64
    model.eval()
    with activate(model, depths), torch.no_grad():
        logits = model(images).numpy().astype(np.float64)
    right = logits.argmax(1) == np.array(data.labels)
    return np.sqrt((logits**2).sum(1)).mean(), 100 * right.mean()


@pytest.mark.parametrize('st', [True, False])
def test_amplitudes_are_numpys(runner, st):
    runner = runner(st)
    found = measure_amplitudes(runner, subnets=[(1, 3, 2)])
    assert found.metric == 'accuracy/top1'
    for name, depths in (('main', (3, 3, 3)), ('1-3-2', (1, 3, 2))):
        amplitude, top1 = by_numpy(runner.model, depths)
        assert found.amplitudes[name] == pytest.approx(amplitude, rel=1e-5)
        assert found.scores[name] == pytest.approx(top1)
    assert len(set(found.amplitudes.values())) == 2


def test_statistics_of_subnets_are_their_own(runner):
    """The re-estimation's logits are not counted as the validation's."""
    runner = runner(norm='BN')
    torch.manual_seed(0)  # training images are flipped at random
    found = measure_amplitudes(runner)
    torch.manual_seed(0)
    assert list(found.amplitudes) == ['main', '1-1-1', '2-2-2', '3-3-3']
    assert found.scores == measure_loafing(runner).scores
    images = (TinyImages(NUM_VAL, flip=False).images.float() - 127.5) / 64
    with run_as_subnet(runner, (1, 1, 1)), torch.no_grad():
        runner.model.eval()
        norms = runner.model(images).norm(dim=1)
    assert found.amplitudes['1-1-1'] == pytest.approx(norms.mean().item())
    # The running statistics are still those of initialisation.
    assert found.amplitudes['main'] != pytest.approx(
        found.amplitudes['3-3-3'], rel=1e-3
    )


class Features(BaseModel):
    """A model with a backbone and without logits."""

    def __init__(self, classifier):
        super().__init__(classifier.data_preprocessor)
        self.backbone = classifier.backbone

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)


def test_others_than_classifiers_are_refused(runner):
    runner = runner()
    runner.model = Features(runner.model)
    with pytest.raises(TypeError, match='only classifiers with one logit ve'):
        measure_amplitudes(runner)


def test_depths_that_do_not_fit(runner):
    with pytest.raises(ValueError, match='depth 4 of stage 1'):
        measure_amplitudes(runner(), subnets=[(4, 1, 1)])


def test_table():
    head, *rows = format_amplitude_table(RESULTS).splitlines()
    assert head.split('  ')[-1].strip() == 'accuracy/top1 (%)'
    assert [row.split() for row in rows] == [
        ['CT', 'main', '12.000', '90.00'],
        ['CT', '1-1', '3.000', '40.00'],
        ['ST', 'main', '9.000', '91.00'],
        ['ST', '1-1', '5.000', '80.00'],
    ]


def lines(axes):
    return [bars[0].get_ydata().tolist() for bars in axes.containers]


def test_picture_over_subnets(tmp_path):
    figure = draw_amplitudes(RESULTS)
    above, below = figure.axes
    assert lines(above) == [[3, 12], [5, 9]]
    assert lines(below) == [[40, 90], [80, 91]]
    assert [t.get_text() for t in below.get_xticklabels()] == ['1-1', 'main']
    assert above.get_ylabel() == 'mean L2 norm of logits'
    assert below.get_ylabel() == 'accuracy/top1 (%)'
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        'CT',
        'ST',
    ]
    figure.savefig(tmp_path / 'a.png')
    with Image.open(tmp_path / 'a.png') as image:
        assert len(image.getcolors(2**24)) > 10


def test_picture_of_main_networks_is_over_these():
    """As in the paper, where no subnets are measured."""
    only_main = {
        name: Amplitudes(
            run.metric,
            {'main': run.scores['main']},
            {'main': run.amplitudes['main']},
        )
        for name, run in RESULTS.items()
    }
    above, below = draw_amplitudes(only_main).axes
    assert lines(above) == [[12, 9]] and lines(below) == [[90, 91]]
    assert [t.get_text() for t in below.get_xticklabels()] == ['CT', 'ST']


@pytest.mark.parametrize('num_runs', [2, 12])
@pytest.mark.parametrize('length', [2, 35, 120])
@pytest.mark.parametrize('networks', [['main'], ['1-1', 'main']])
def test_names_have_room(num_runs, length, networks):
    """In the legend, or on the axis where they are without subnets."""
    values = dict.fromkeys(networks, 7.0)
    figure = draw_amplitudes(
        {
            long_name(k, length): Amplitudes('accuracy/top1', values, values)
            for k in range(num_runs)
        }
    )
    check_texts(figure)
    for axes in figure.axes:
        assert axes_height(axes) == pytest.approx(2.6, abs=0.2)
