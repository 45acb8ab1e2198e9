"""Whether the passes of a training share prefixes of blocks, or why not."""

from typing import Any, Optional, Sequence


def explain_apart(
    share_prefixes: bool = True,
    update_running_stats: bool = False,
    input_transforms: Sequence[str] = (),
    chain_inputs: bool = False,
    **others: Any,
) -> Optional[str]:
    """Say why each pass of a training runs by itself.

    Args:
        share_prefixes: See :class:`mmst.engine.STEpochBasedTrainLoop`, as
            for the next three.
        update_running_stats: See there.
        input_transforms: See there.
        chain_inputs: See there.
        **others: What else ``train_cfg`` may have.

    Returns:
        str: ``None`` where passes share prefixes.
    """
    if not share_prefixes:
        return 'share_prefixes=False in train_cfg'
    if update_running_stats:
        return 'every subnet updates running statistics'
    if chain_inputs:
        return "each subnet's input is made of the previous one's"
    if input_transforms:
        return 'each subnet has an input of its own'
    return None
