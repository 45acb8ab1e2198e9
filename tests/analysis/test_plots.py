"""Legends of any length, in the pictures that have one."""

import pytest
from matplotlib.figure import Figure

from mmst.analysis.accuracy_cost import MeasuredNetwork, draw_family
from mmst.analysis.cost import TrainingCost, draw_costs
from mmst.analysis.plots import place_legend_below, wrap_name
from mmst.analysis.stage_layout import Layout, draw_layouts
from tests.analysis.pictures import axes_height, check_texts, long_name


def lines(width, names):
    """A figure with one line a name, and the legend."""
    figure = Figure(figsize=(width, 4), layout='constrained')
    axes = figure.subplots()
    for name in names:
        axes.plot([1, 2], label=name)
    place_legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@pytest.mark.parametrize('width', [6.4, 20])
@pytest.mark.parametrize('num_names', [1, 4, 12])
@pytest.mark.parametrize('length', [2, 35, 120])
def test_legend_takes_nothing_from_the_axes(width, num_names, length):
    names = [long_name(k, length) for k in range(num_names)]
    figure = lines(width, names)
    check_texts(figure)
    (legend,) = figure.legends
    assert [
        ''.join(text.get_text().split()) for text in legend.get_texts()
    ] == [''.join(name.split()) for name in names]
    assert axes_height(figure.axes[0]) == pytest.approx(3.6, abs=0.15)
    assert legend.get_window_extent().y1 < figure.axes[0].bbox.y0


def test_legend_is_as_low_as_the_width_allows():
    for width, rows in ((3.2, 4), (6.4, 2), (20, 1)):
        figure = lines(width, [f'a name of some, {k}' for k in range(4)])
        figure.draw_without_rendering()
        texts = figure.legends[0].get_texts()
        tops = {round(text.get_window_extent().y1) for text in texts}
        assert len(tops) == rows


def test_capitals_fit_as_well():
    check_texts(lines(6.4, ['W' * 120, 'M' * 39]))


def test_wrapped():
    assert wrap_name('short') == 'short'
    assert wrap_name('two words', 5) == 'two\nwords'
    assert wrap_name('a_long_word', 6) == 'a_long\n_word'


@pytest.mark.parametrize('number', [1, 2, 12])
@pytest.mark.parametrize('length', [2, 35, 120])
def test_pictures_with_any_names(number, length):
    names = [long_name(k, length) for k in range(number)]
    cost = TrainingCost(
        'accuracy/top1', 1, 2.0, 2, 2e15, None, [1e15, 2e15], [1, 2], [5, 6]
    )
    layout = Layout(dict(a=3, b=4, c=23, d=3), (32, 32), 1, [])
    for figure in (
        draw_costs(dict.fromkeys(names, cost)),
        draw_layouts(dict.fromkeys(names, layout)),
    ):
        check_texts(figure)
        assert axes_height(figure.axes[0]) == pytest.approx(3.7, abs=0.2)


def test_family_has_room():
    networks = [
        MeasuredNetwork((3, k, 6, 3), 60.0 + k, k * 10**9, k * 10**7, 5.0 * k)
        for k in range(1, 5)
    ]
    figure = draw_family(networks, 'accuracy/top1 (%)')
    check_texts(figure)
    assert axes_height(figure.axes[0]) == pytest.approx(3.6, abs=0.2)
