"""The batch of each pass of an iteration, made once for each input size."""

from typing import Any, Hashable, List, Optional, Sequence

from torch import nn

from mmst.subnets import Subnet, SubnetInputs, get_shorter_side

from .subnet_batch import image_batch, make_subnet_batch


class PassBatches:
    """Makes the passes' batches of the main one.

    Args:
        data: The main batch, preprocessed.
        subnet_inputs: What makes subnets' inputs of the main one.
        model: The bare model.
    """

    def __init__(
        self, data: Any, subnet_inputs: SubnetInputs, model: nn.Module
    ) -> None:
        self._main = self._last = data
        self._last_input: Hashable = None
        self._subnet_inputs = subnet_inputs
        self._model = model

    def tell_apart(self, passes: Sequence[Optional[Subnet]]) -> List[Hashable]:
        """Give for each pass what is equal where inputs are.

        Args:
            passes: Subnets, and ``None`` for the main network.
        """
        if not self._subnet_inputs.are_alike:
            return list(range(len(passes)))
        return [self._find_side(subnet) for subnet in passes]

    def make(self, subnet: Optional[Subnet]) -> Any:
        """Make a pass's batch; passes on one input come in a row.

        Its samples belong to all passes on this input: a pass may write into
        copies only.

        Args:
            subnet: A subnet; ``None`` for the main network.
        """
        if subnet is None:
            return self._main
        side = self._find_side(subnet)
        if self._subnet_inputs.are_alike and side == self._last_input:
            return self._last
        source = self._last if self._subnet_inputs.chained else self._main
        self._last = make_subnet_batch(
            source, subnet, self._subnet_inputs, self._model
        )
        self._last_input = side
        return self._last

    def _find_side(self, subnet: Optional[Subnet]) -> Hashable:
        """The shorter side of a pass's images; of the main ones, None."""
        if subnet is None or subnet.size is None:
            return None
        images = image_batch(self._main)
        side = get_shorter_side(images, subnet.size)
        return None if side == get_shorter_side(images, None) else side
