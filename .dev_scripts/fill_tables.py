"""Fill the tables of the pages from the scores in ``resources/*.json``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. Numbers
in the text around the tables are only checked: a sentence whose number has
changed has to be thought about again.
"""

import argparse
import re
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
from score_tables import (
    CHOSEN,
    LENGTH,
    RESNET20,
    ROOT,
    SMALLER,
    TABLES,
    Rows,
    Runs,
    digits,
    gain,
    list_comparisons,
    list_gains,
    list_networks,
    load,
    load_digits,
    mean,
    minus,
    of,
    scenes,
)

MARKED = re.compile(r'<!-- table: (\S+) -->\n.*?<!-- end -->', re.DOTALL)
PAGES = [
    ROOT / 'README.md',
    *sorted((ROOT / 'configs').rglob('*.md')),
    *sorted((ROOT / 'docs').glob('*.md')),
]


def format_table(name: str) -> str:
    """Write a table in Markdown, with numbers to the right."""
    head, list_rows = TABLES[name]
    rows: Rows = list_rows()
    rule = ['---'] + [
        '---:'
        if all(re.match(r'[-+\d]|$', cell) for cell in column)
        else '---'
        for column in list(zip(*rows))[1:]
    ]
    lines = [head, *(' | '.join(row) for row in [rule, *rows])]
    return ''.join(f'| {line} |\n'.replace('|  |', '| |') for line in lines)


def fill(text: str) -> str:
    """Fill the tables of a page."""
    return MARKED.sub(
        lambda found: (
            f'<!-- table: {found[1]} -->\n\n{format_table(found[1])}\n'
            '<!-- end -->'
        ),
        text,
    )


def list_costs_alone(arm: str = CHOSEN) -> List[float]:
    """List what each network alone costs, relative to a family."""
    runs = Runs('family')
    of_family = runs.flops(arm, LENGTH)
    return [runs.flops(n, LENGTH) / of_family for n in list_networks(arm)]


def list_phrases_of_readme() -> Iterator[str]:
    first, one_block, *numbers, late = list_comparisons(every=False)[:5]
    old, new = np.mean(one_block.old), np.mean(one_block.new)
    yield f'goes from {old:.0f} to {new:.0f} %'
    gains = [np.mean(c.new - c.old) for c in (first, *numbers)]
    yield f'by {min(gains):.1f} to {max(gains):.1f} points'
    yield f'gained {mean(late.new - late.longer)} points'
    yield f'at {1 / sum(list_costs_alone()):.2f} times the cost'
    ratios = [c.cost.split(',')[0] for c in (first, numbers[0])]
    yield '{} times in the first row and {} times for the numbers'.format(
        *ratios
    )


def list_phrases_of_results() -> Iterator[str]:
    for method, cost in load_digits('demo_equal_cost')[1].items():
        yield f'{cost["ratio"]:.2f} times a plain one'
        ours = digits(method, 'main', 'demo_equal_cost')
        yield f'{gain(ours, of(cost["scores"], "main"))} points'
    targets = load_digits('demo_targets')[0].values()
    labels, both = (
        gain(of(runs, 'main'), digits('ST++', 'main')) for runs in targets
    )
    yield f'{labels} with labels and {both} with both'
    alone, ct, st, stpp = (
        [
            f'{score:.1f}'
            for run in load('loafing')['results'][name]
            for network, score in run.items()
            if network in ('1-1-1', '2-2-2')
        ]
        for name in ('trained alone', 'CT', 'ST', 'ST++')
    )
    yield f'{alone[0]} % with one block a stage and {alone[1]} % with two'
    yield (
        f"CT's subnets have {ct[0]} and {ct[1]}, ST's {st[0]} and {st[1]}, "
        f"ST++'s {stpp[0]} and {stpp[1]}."
    )
    runs = Runs('frontier')
    score = runs.score
    less = score('stpp', 20) - score('stpp-shared', 20)
    yield f'by {mean(less)} points seed by seed'
    more = score('stpp-shared', 40) - score('stpp', 40)
    yield f'After 40 they differ by {mean(more, "+")}'
    yield f'ahead of CT by {mean(runs.ahead("stpp-shared", 40))}.'
    longest = gain(score('stpp', 80), score('ct', 236))
    yield f'differ from that by {longest} points;'
    longest = gain(score('stpp-all', 80), score('ct', 184))
    yield f'and differ from 184 by {longest}.'
    depths = minus(score('stpp-all', 80), score('stpp-shared', 80))
    yield f'all depths are ahead by {mean(depths)} points.'
    yield f'at the end by {mean(-runs.ahead("stpp-every2", 80))} points.'
    fifth = [mean(runs.ahead('stpp-fifth', epochs)) for epochs in (20, 40, 80)]
    yield (
        f'is ahead of CT by {fifth[0]} points, in 40 by {fifth[1]} and in 80 '
        f'by {fifth[2]},'
    )
    level, ahead = (runs.ahead_at_cost('stpp-fifth', n) for n in (40, 80))
    yield f'level after 40, {mean(level, "+")}, and ahead after 80 by '
    yield f'{mean(ahead)} points'
    yield f'the other two have {ahead[3]:+.2f} and {ahead[4]:+.2f}'
    for arms in (('stpp-all', 'stpp-late'), ('stpp', 'stpp-k1')):
        ways = [mean(runs.ahead_at_cost(arm, 80), '+') for arm in arms]
        yield ', {} and {}'.format(*ways)
    timed = [
        r['seed'] for r in runs.runs['stpp-every2', 80] if r['cpu_seconds']
    ]
    assert timed == [0]
    yield 'it is that of seed 0 alone'
    worst = [
        score(arm, 10).min()
        for arm in ('stpp', 'stpp-shared', 'stpp-all', 'stpp-every2')
    ]
    yield f'with {min(worst):.1f} to {max(worst):.1f} %'
    vit = Runs('frontier_vit')
    lost = [
        f'{-vit.ahead(arm, 40, "main").mean():.1f}'
        for arm in ('st', 'st-k3', 'st-standardize', 'stpp', 'st-weak')
    ]
    yield (
        'loses {} points with one exit an iteration, {} with three, {} and {} '
        'with KL-. With a tenth of the weight, the best on the split, it '
        'loses {}.'
    ).format(*lost)
    ct, st = (vit.seconds(arm, 40) for arm in ('ct', 'st'))
    yield f'took {st} CPU seconds in place of {ct} for 40 epochs'
    exits = [
        f'{vit.ahead("st-weak", 80, part).mean():.1f}'
        for part in ('2', '3', '4')
    ]
    yield (
        f"differs from CT's by {mean(vit.ahead('st-weak', 80, 'main'), '+')} "
        'points, and the second, third and fourth exit gain {}, {} and {}.'
    ).format(*exits)
    yield from list_phrases_of_families()
    yield from list_phrases_of_detectors()
    for cost in load('demo_downstream')['costs'].values():
        yield f'{np.mean(cost["ratio"]):.2f}'
        yield f'{cost["length"]:,}'


def list_phrases_of_families() -> Iterator[str]:
    family = Runs('family')

    def read_gains(arm: str) -> Iterator[List[str]]:
        """Read the columns of a family's table of gains."""
        _, *columns = zip(*list_gains(arm))
        return map(list, columns)

    whole, half, third, fifth, ninth, _ = read_gains(CHOSEN)
    yield f'from {whole[0]} to {whole[3]} points'
    half, third = ([text[1:] for text in column] for column in (half, third))
    yield (
        f'ResNet-8 alone is ahead by {half[0]} points, ResNet-14 by {half[1]} '
        f'and ResNet-20 by {half[2]}.'
    )
    yield f'by {half[3]} and with ResNet-32 by {half[4]}, which may'
    yield (
        f'ResNet-8 alone is ahead, by {third[0]} points, ResNet-14 by '
        f'{third[1]}.'
    )
    yield f'with ResNet-26 by {third[3]} and with ResNet-32 by {third[4]}.'
    yield f'is ahead, by {fifth[0][1:]} points, ResNet-14 is level'
    yield f'ResNet-20 is {fifth[2][1:]} points behind'
    yield f'ResNet-8 is level, {ninth[0]},'
    yield f'with ResNet-14 by {ninth[1][1:]},'
    whole, half, third, fifth, *_ = read_gains(RESNET20)
    yield f'again, from {whole[1]} to {whole[2]} points'
    yield f'is ahead by {half[0][1:]} and {third[0][1:]} points'
    yield f'with ResNet-20 by {half[2][1:]} and {third[2][1:]}'
    yield f'ResNet-8 is level, {fifth[0]},'
    yield f'with ResNet-14 by {fifth[1][1:]}'
    ratio = sum(list_costs_alone(RESNET20))
    yield f'cost only {ratio:.2f} times as much as the family'
    small, middle = (
        gain(
            family.score(SMALLER, LENGTH, f'5-5-5 at {px} px'),
            family.score('5-5-5', LENGTH, f'5-5-5 at {px} px'),
        )
        for px in (24, 28)
    )
    full = gain(
        family.score(SMALLER, LENGTH, '5-5-5'), family.score('5-5-5', LENGTH)
    )
    yield (
        f'{small} points ahead of ResNet-32 alone at 24 px, {middle} at 28 px '
        f'and {full} at 32 px'
    )
    costs = list_costs_alone()
    yield f"cost {sum(costs):.2f} times the family's"
    yield f'alone {max(costs):.2f} times, that of ResNet-8 {min(costs):.2f}'
    yield f'at {1 / sum(costs):.2f} times the cost'


def list_phrases_of_detectors() -> Iterator[str]:
    star, untrained, same, third = load('detectors')['results'].values()
    epochs = load('detectors')['epochs']
    most, middle, none = (gain(of(star, n), of(untrained, n)) for n in epochs)
    yield (
        f'gains {most[1:]} points, that of a ResNet-14 {middle[1:]}, the main '
        f'network none ({none}).'
    )
    level = [gain(of(star, n), of(same, n)) for n in ('1-2-2-1', '1-1-1-1')]
    yield f'from {level[0]} to {level[1]} points'
    ahead = [gain(of(star, n), of(third, n))[1:] for n in epochs]
    yield f'ahead by {ahead[0]}, {ahead[1]} and {ahead[2]} points'
    yield 'each has {}, {} and {} epochs'.format(*epochs.values())


def list_phrases_of_method_card() -> Iterator[str]:
    runs = Runs('frontier')
    for arm, lengths in (
        ('stpp-late', (20, 40, 80)),
        ('stpp-every2', (20, 40)),
        ('stpp-fifth', (20, 40, 80)),
    ):
        for epochs in lengths:
            yield f'{mean(runs.ahead(arm, epochs), "+")} after {epochs}'
    yield f'for {1 / sum(list_costs_alone()):.2f} times the cost'
    _, star, longer = scenes('mask-rcnn', 'coco/bbox_mAP')
    yield (
        f'without subnets reached {np.mean(longer):.1f} box AP, against '
        f'{np.mean(star):.1f}'
    )


#: Words that the text of a page has to have.
PHRASES: Dict[Path, Callable[[], Iterator[str]]] = {
    ROOT / 'README.md': list_phrases_of_readme,
    ROOT / 'docs/results.md': list_phrases_of_results,
    ROOT / 'docs/method_card.md': list_phrases_of_method_card,
}


def find_stale() -> List[str]:
    """Find pages whose numbers are not those of the scores."""
    stale = [
        f'{page}: a table; run {__file__}'
        for page in PAGES
        if fill(page.read_text()) != page.read_text()
    ]
    for page, list_phrases in PHRASES.items():
        text = ' '.join(page.read_text().split())
        stale += [f'{page}: {p!r}' for p in list_phrases() if p not in text]
    shown = {n for page in PAGES for n in MARKED.findall(page.read_text())}
    return stale + [f'no page has the table {n}' for n in {*TABLES} - shown]


def main(args: Optional[Sequence[str]] = None) -> None:
    """Fill all pages, and say which sentences have other numbers."""
    argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(args)
    for page in PAGES:
        page.write_text(fill(page.read_text()))
    raise SystemExit('\n'.join(find_stale()) or 0)


if __name__ == '__main__':
    main()
