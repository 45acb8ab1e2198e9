"""Every picture has room for its words, and its legend is below it."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from mmst.analysis.cost import TrainingCost, draw_costs
from mmst.analysis.loafing import draw_loafing
from mmst.analysis.logit_amplitude import Amplitudes, draw_amplitudes
from mmst.analysis.plots import place_legend_below
from mmst.analysis.receptive_field import Field, draw_receptive_fields
from mmst.analysis.score_quality import (
    NetworkScores,
    ScoreReport,
    draw_score_quality,
)
from mmst.analysis.stage_layout import Layout, draw_layouts
from tests.analysis.pictures import axes_height, check_texts, read_legend

COST = TrainingCost(
    'accuracy/top1', 1, 2.0, 2, 2e15, None, [1e15, 2e15], [1, 2], [5, 6]
)
LAYOUT = Layout(dict(a=3, b=4, c=23, d=3), (32, 32), 1, [])


def scores(num_subnets):
    subnets = [f'3-4-{n}-3' for n in range(1, num_subnets + 1)]
    return dict.fromkeys(['main', *subnets], 70.0)


def of_runs(draw, run, *args):
    """Draw one run under several names."""
    return lambda names: draw(dict.fromkeys(names, run), *args)


def loafing(num_subnets):
    return of_runs(draw_loafing, [scores(num_subnets)], 'accuracy/top1 (%)')


def amplitudes(num_subnets):
    run = Amplitudes('accuracy/top1', *[scores(num_subnets)] * 2)
    return of_runs(draw_amplitudes, run)


def fields(most, *sizes):
    return lambda names: draw_receptive_fields(
        [
            Field(name, '3-4-6-3', size, np.ones((5, 5)))
            for name in names[:most]
            for size in sizes
        ]
    )


#: Pictures of runs by their names, and how high their axes are at least and
#: at most, in inches.
PICTURES = dict(
    main_alone=(loafing(0), 4.0, 4.4),
    loafing=(loafing(5), 4.0, 4.4),
    many_subnets=(loafing(23), 4.0, 4.4),
    amplitudes_of_main=(amplitudes(0), 2.4, 2.8),
    amplitudes=(amplitudes(1), 2.4, 2.8),
    costs=(of_runs(draw_costs, COST), 3.5, 3.9),
    layouts=(of_runs(draw_layouts, LAYOUT), 3.5, 3.9),
    fields=(fields(6, 224), 2.1, 4.9),
    fields_of_sizes=(fields(2, 224, 1024, 2048), 2.1, 4.9),
)


@pytest.mark.parametrize(
    'number, length',
    [
        *((1, 120), (2, 35), (12, 2)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(2, 120), (12, 35), (12, 120)]
        ),
    ],
)
@pytest.mark.parametrize('picture', PICTURES)
def test_names_have_room(picture, number, length):
    """The axes are as high with any of them."""
    draw, low, high = PICTURES[picture]
    # Of words and long words.
    text = '{0} resnet50_stpp_in1k_8xb32-300e, seed {0} ' * 4
    names = [text.format(k)[:length].strip() for k in range(number)]
    figure = draw(names)
    check_texts(figure)
    assert low < axes_height(figure.axes[0]) < high
    if figure.legends and 'fields' not in picture:  # in lines, if long
        shown = [''.join(name.split()) for name in read_legend(figure)]
        assert shown == [''.join(name.split()) for name in names]


def test_colours_mean_the_same_everywhere():
    """Two lines a run in the last picture, which have different markers."""
    quality = dict(predicted=1.0, calibrated=0.5)
    report = ScoreReport(
        {'main': NetworkScores(9.0, 1.0, *[quality] * 2)}, None
    )
    pictures = loafing(5), amplitudes(1), of_runs(draw_costs, COST)
    for draw in (*pictures, of_runs(draw_score_quality, report)):
        axes = draw(['ST', 'ST++', 'CT']).axes[0]
        found = {}
        for line in axes.get_lines():
            if not line.get_label().startswith('_'):
                found[line.get_label().split(',')[0]] = line.get_color()
        for bars in axes.containers:
            found[bars.get_label().split(',')[0]] = bars[0].get_color()
        assert found == {'ST': '#009E73', 'ST++': '#0072B2', 'CT': '#D55E00'}
    fills = [bars[0].get_markerfacecolor() for bars in axes.containers]
    assert fills[1::2] == ['white'] * 3 and 'white' not in fills[::2]


def test_legend_is_as_low_as_the_width_allows():
    for width, rows in ((3.2, 4), (6.4, 2), (20, 1)):
        figure = Figure(figsize=(width, 4), layout='constrained')
        axes = figure.subplots()
        for k in range(4):
            axes.plot([1, 2], label=f'a name of some, {k}')
        place_legend_below(figure, *axes.get_legend_handles_labels())
        check_texts(figure)
        assert axes_height(axes) == pytest.approx(3.6, abs=0.15)
        texts = figure.legends[0].get_texts()
        tops = {round(text.get_window_extent().y1) for text in texts}
        assert len(tops) == rows
