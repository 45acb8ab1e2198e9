"""Steps that the analysis tools share: parse, measure, write, print the table.

A tool imports what it measures with only after its command line was read, so
that ``--help`` and typing errors are answered at once.
"""

import argparse
import io
import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Tuple

from mmst.launch.command_line import add_metric, add_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mmengine.runner import Runner

Measured = Tuple[str, Any, 'Figure']
# A picture fits a screen, in pixels, and has this many for an inch at most.
SCREEN = (1600, 900)
DPI = 150


def run_analysis(
    name: str,
    description: Optional[str],
    add_arguments: Callable[[argparse.ArgumentParser], None],
    measure: Callable[[argparse.Namespace], Measured],
    args: Optional[Sequence[str]] = None,
) -> None:
    """Run an analysis from the command line.

    Args:
        name: Name of the analysis and of the files that it writes.
        description: Text for ``--help``.
        add_arguments: Adds the tool's flags to a parser.
        measure: Returns the table, the numbers for JSON, and the figure.
        args: The command line; default: that of the process.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    add_out(parser, name)
    parsed = parser.parse_args(args)
    # The table comes last and alone: messages of the toolboxes go elsewhere.
    with redirect_stdout(sys.stderr):
        table, numbers, figure = measure(parsed)
    # Made before anything is written, so that an error leaves nothing.
    text, picture = json.dumps(numbers, indent=1), io.BytesIO()
    dpi = min(DPI, *(SCREEN / figure.get_size_inches()))
    figure.savefig(picture, format='png', dpi=dpi)
    parsed.out.mkdir(parents=True, exist_ok=True)
    json_file, png_file = (parsed.out / f'{name}.{e}' for e in ('json', 'png'))
    json_file.write_text(text)
    png_file.write_bytes(picture.getvalue())
    print(f'Written to {json_file} and {png_file}\n{table}')


def add_metric_and_rule(parser: argparse.ArgumentParser) -> None:
    """Add ``--metric`` and ``--rule``: the metric, and if less is better."""
    add_metric(parser)
    parser.add_argument(
        '--rule',
        choices=['greater', 'less'],
        help='whether more or less of the metric is better; default: as '
        "CheckpointHook's rule for it, else by its name (NME, EPE, rmse, "
        'error ...: less)',
    )


def load_runner(
    parsed: argparse.Namespace, config: str, checkpoint: str, **options: Any
) -> 'Runner':
    """Load a trained network; further options change its config."""
    from mmst.launch.trained_runner import load_trained_runner

    options = {**(parsed.cfg_options or {}), **options}
    return load_trained_runner(config, checkpoint, parsed.out, options)


def read_rule(parsed: argparse.Namespace, metric: str, config: str) -> str:
    """Read which of two scores is better: from flag, config or name."""
    from mmst.analysis.results import choose_rule
    from mmst.launch.toolbox import read_config

    cfg = read_config(config, parsed.cfg_options)
    return choose_rule(metric, cfg, parsed.rule)
