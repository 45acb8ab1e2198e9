"""Where the words of a picture are: none cut off, none over another."""

from itertools import combinations


def read_names(axes):
    """The names on the x axis."""
    return [text.get_text() for text in axes.get_xticklabels()]


def read_legend(figure):
    """The names in the one legend."""
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def axes_height(axes):
    """In inches, once the figure is drawn."""
    return axes.get_window_extent().height / axes.figure.dpi


def check_texts(figure):
    """Titles, labels, names on the x axis and the legend have room."""
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in _texts(figure)}
    assert boxes
    width, height = figure.bbox.size
    for text, box in boxes.items():
        assert box.x0 >= 0 and box.x1 <= width, text
        assert box.y0 >= 0 and box.y1 <= height, text
    for legend in figure.legends:
        top = legend.get_window_extent().y1
        assert all(top < axes.bbox.y0 for axes in figure.axes)
    for (one, box), (other, second) in combinations(boxes.items(), 2):
        assert not box.overlaps(second), (one, other)


def _texts(figure):
    for legend in figure.legends:
        yield from legend.get_texts()
    for axes in figure.axes:
        left, right = axes.get_xlim()
        names = zip(axes.get_xticks(), axes.get_xticklabels())
        texts = [name for x, name in names if left <= x <= right]
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        yield from (t for t in texts if t.get_visible() and t.get_text())
