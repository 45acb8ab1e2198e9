"""Whether passes share prefixes of blocks, and why not."""

from typing import Any, Optional, Sequence


def explain_apart(
    share_prefixes: bool = True,
    update_running_stats: bool = False,
    input_transforms: Sequence[str] = (),
    chain_inputs: bool = False,
    **others: Any,
) -> Optional[str]:
    """Explain why each pass runs by itself; ``None`` where passes share.

    Args:
        share_prefixes: See :class:`mmst.engine.loops.STLoopMixin`.
        update_running_stats: See there.
        input_transforms: See there.
        chain_inputs: See there.
        **others: Anything else in ``train_cfg``.
    """
    if not share_prefixes:
        return 'share_prefixes=False in train_cfg'
    if update_running_stats:
        return 'every subnet updates running statistics'
    if chain_inputs:
        return "each subnet's input is made from the previous one's"
    if input_transforms:
        return 'each subnet has its own input'
    return None
