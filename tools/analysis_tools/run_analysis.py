"""What the analysis tools share: parse, measure, write, print the table.

A tool imports what it measures with only after its command line was read, so
that ``--help`` and typing errors are answered at once.
"""

import argparse
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Tuple

from mmst.launch.command_line import add_metric, add_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mmengine.runner import Runner

Measured = Tuple[str, Any, 'Figure']


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
    from mmst.analysis.results import write_results

    write_results(parsed.out, name, numbers, figure)
    print(table)


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
    """Load a trained network, without hundreds of lines of its config.

    Args:
        parsed: The command line, with ``out`` and ``cfg_options``.
        config: Path of its config.
        checkpoint: Path of its checkpoint.
        **options: More changes to the config.
    """
    from mmst.launch.trained_runner import load_trained_runner

    return load_trained_runner(
        config,
        checkpoint,
        parsed.out,
        {'log_level': 'WARNING', **(parsed.cfg_options or {}), **options},
    )


def read_rule(parsed: argparse.Namespace, metric: str, config: str) -> str:
    """Read which of two scores is better: from flag, config or name."""
    from mmst.analysis.results import choose_rule
    from mmst.launch.toolbox import read_config

    cfg = read_config(config)
    cfg.merge_from_dict(parsed.cfg_options or {})
    return choose_rule(metric, cfg, parsed.rule)
