"""Command-line flags that tools share."""

from argparse import Action, ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any, List, Sequence, Tuple


def parse_depths(text: str) -> Tuple[int, ...]:
    """Parse depths such as '3-3-4-3'."""
    parts = text.split('-')
    if not all(part.isdigit() for part in parts):
        raise ArgumentTypeError(
            f"'{text}': expected depths such as 3-3-4-3, the blocks kept in "
            'each stage'
        )
    return tuple(map(int, parts))


def parse_value(text: str) -> Any:
    """Parse a value of ``--cfg-options`` as MMEngine does, spaces kept.

    Numbers, ``true``, ``false`` and ``None`` are themselves, ``[a,b]`` and
    ``a,b`` a list, ``(a,b)`` a tuple; all else is text, in quotes or not.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    if text == 'None':
        return None
    parts = _split_at_commas(text)
    if len(parts) > 1:
        return [parse_value(part.strip()) for part in parts]
    if text[:1] in ('"', "'") and text[-1] == text[0] and len(text) > 1:
        text = text[1:-1]
        is_list = text[:1] in ('[', '(')
        return text if ',' in text and not is_list else parse_value(text)
    if text[:1] + text[-1:] in ('[]', '()'):
        inner = _split_at_commas(text[1:-1])
        if not inner[-1].strip():  # none at all, or a comma at the end
            inner.pop()
        entries = [parse_value(part.strip()) for part in inner]
        return tuple(entries) if text[0] == '(' else entries
    return text


def _split_at_commas(text: str) -> List[str]:
    """Split at the commas outside brackets and quotes."""
    if ',' not in text:
        return [text]
    parts, quote, opened = [''], '', ''
    for character in text:
        if quote:
            quote = '' if character == quote else quote
        elif character in '"\'' and not parts[-1].strip('[( '):
            # A quote begins a value; an apostrophe inside one is text.
            quote = character
        elif character in '[(':
            opened += character
        elif character in '])':
            if opened[-1:] + character not in ('[]', '()'):
                raise ArgumentTypeError(f'{character} closes nothing')
            opened = opened[:-1]
        elif character == ',' and not opened:
            parts.append('')
            continue
        parts[-1] += character
    if opened:
        raise ArgumentTypeError(f'{opened[-1]} is not closed')
    return parts


class _CfgOptions(Action):
    """Collects KEY=VALUE, of each time that the flag is given."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, flag: Any = None
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for given in values:
            key, equals, text = given.partition('=')
            try:
                if not equals:
                    raise ArgumentTypeError(
                        'expected KEY=VALUE, in quotes where VALUE has spaces'
                    )
                options[key] = parse_value(text)
            except ArgumentTypeError as error:
                parser.error(f'{flag} {given}: {error}')
        setattr(namespace, self.dest, options)


def add_cfg_options(parser: ArgumentParser) -> None:
    """Add ``--cfg-options``: changes to the config, or to each config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_CfgOptions,
        metavar='KEY=VALUE',
        help='change values of the config: optim_wrapper.optimizer.lr=0.1, '
        'a list as key="[a,b]", nested as key="[(a,b),(c,d)]", text with '
        'spaces as key="my data"',
    )


def add_checkpoint(parser: ArgumentParser) -> None:
    """Add a trained network: its config and its checkpoint."""
    parser.add_argument('config', help='config of the training')
    parser.add_argument('checkpoint', help='checkpoint of that training')


def add_metric(parser: ArgumentParser) -> None:
    """Add ``--metric``: the metric to report."""
    parser.add_argument(
        '--metric',
        help='metric to report, such as accuracy/top1 or coco/bbox_mAP; '
        "default: the task's usual one",
    )


def add_num_samples(parser: ArgumentParser) -> None:
    """Add ``--num-samples``: images for BatchNorm statistics."""
    parser.add_argument(
        '--num-samples',
        type=int,
        default=2000,
        help="training images to re-estimate each subnet's BatchNorm "
        'statistics from; default: %(default)s',
    )


def add_image_size(parser: ArgumentParser) -> None:
    """Add ``--size``: the size of training images, for tools without data."""
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of training images; default: read from the pipeline',
    )


def add_out(parser: ArgumentParser, name: str) -> None:
    """Add ``--out``: where an analysis writes files of this name."""
    parser.add_argument(
        '--out',
        default=Path('work_dirs', name),
        type=Path,
        help=f'folder for {name}.json and {name}.png; default: %(default)s',
    )


def add_subnets(parser: ArgumentParser, default: str) -> None:
    """Add ``--depths``: the subnets to evaluate; the default in words."""
    parser.add_argument(
        '--depths',
        nargs='*',
        type=parse_depths,
        metavar='D-D-D',
        help='subnets, given by the number of blocks kept in each stage, such '
        f'as 3-3-4-3; default: {default}; without a value: none',
    )


def add_networks(parser: ArgumentParser) -> None:
    """Add trained networks to compare, and the choice of their subnets."""
    parser.add_argument(
        '--run',
        nargs=3,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a trained network; repeat the option to compare several',
    )
    add_subnets(parser, default='1, 2 ... blocks in every stage')
    add_num_samples(parser)
    add_cfg_options(parser)


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the flags that training and testing share."""
    parser.add_argument(
        '--work-dir',
        help='where logs and checkpoints go; default: the '
        "config's work_dir, else ./work_dirs/<name of the config>",
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='set pin_memory=False in every dataloader',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='set persistent_workers=False in every dataloader',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of this run were started',
    )
    # torchrun sets $LOCAL_RANK; older launchers pass one of these.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)


def check_runs(
    runs: Sequence[Tuple[str, ...]], share_names: bool = False
) -> None:
    """Check names and paths of runs before anything is measured.

    With ``share_names`` several may have one name, as seeds of one method.
    """
    names = [name for name, *_ in runs]
    for name, *paths in runs:
        if name.startswith('_'):
            raise ValueError(
                f"a run is named '{name}': legends leave out names that begin "
                'with an underscore; choose another name'
            )
        if names.count(name) > 1 and not share_names:
            raise ValueError(
                f"two runs are named '{name}': choose different names"
            )
        for path in paths:
            if '://' not in path and not Path(path).exists():
                raise FileNotFoundError(
                    f"{path} of run '{name}' does not exist"
                )
