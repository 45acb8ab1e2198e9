"""The batches of an iteration's passes, made once for each input size."""

from typing import Any, Hashable, List, Optional, Sequence

from torch import nn

from mmst.subnets import Subnet, SubnetInputs, get_shorter_side

from .subnet_batch import get_images, make_subnet_batch


class PassBatches:
    """Makes the batch of each pass from the main batch.

    Args:
        data: The main batch, preprocessed.
        subnet_inputs: Makes subnets' inputs from the main input.
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
        """Return a key for each pass, equal for passes on the same input.

        Args:
            passes: Subnets, and ``None`` for the main network.
        """
        if not self._subnet_inputs.are_alike:
            return list(range(len(passes)))
        return [self._find_side(subnet) for subnet in passes]

    def make(self, subnet: Optional[Subnet]) -> Any:
        """Make a pass's batch; ask for passes on one input in a row.

        Passes on one input share its samples, so write only into copies.

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
        """Find the shorter side of a pass's images; ``None``: the main one."""
        if subnet is None or subnet.size is None:
            return None
        images = get_images(self._main)
        side = get_shorter_side(images, subnet.size)
        return None if side == get_shorter_side(images, None) else side
