"""The batch of each pass: the main batch, and what subnets get of it."""

from math import gcd
from typing import Any, Dict, Hashable, List, Optional, Sequence, Tuple

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from mmst.subnets import Subnet, SubnetInputs, pad_inputs
from mmst.subnets.inputs import find_shape
from mmst.targets import (
    Resizing,
    check_reproduced,
    find_batch_rule,
    find_handler,
    resize_samples,
)
from mmst.targets.fields import NO_SIZES, describe_unknown


class PassBatches:
    """Makes the batch of each pass from the preprocessed main batch.

    Images shrink, and what stands in them: data samples by their handlers,
    other entries by rules registered with
    :func:`mmst.targets.register_field`. A batch of full size stays as it is,
    whatever its form: a dictionary, or a list whose first entries are the
    images and the data samples.

    Args:
        data: The main batch, preprocessed; not changed.
        subnet_inputs: How subnets' inputs are made from the main input.
        model: The bare model, whose ``data_preprocessor`` made the batch.
        dataset: The training data set, for handlers; ``None`` if unknown.
        copy_inputs: Whether each pass gets a copy of its images, for models
            that write into them.
    """

    def __init__(
        self,
        data: Any,
        subnet_inputs: SubnetInputs,
        model: nn.Module,
        dataset: Any = None,
        copy_inputs: bool = False,
    ) -> None:
        self._data = data
        self._main = self._last = read_entries(data)
        self._last_key: Hashable = None
        self._inputs = subnet_inputs
        self._model = model
        self._dataset = dataset
        self._copy_inputs = copy_inputs
        # Images of the last pass, each with its version.
        self._handed_out: List[Tuple[Tensor, int]] = []
        self._are_written = False

    def list_keys(self, passes: Sequence[Optional[Subnet]]) -> List[Hashable]:
        """List a key for each pass, equal for passes on the same input.

        Args:
            passes: Subnets, and ``None`` for the main network.
        """
        if not self._inputs.are_alike:
            return list(range(len(passes)))
        return [self._find_key(subnet) for subnet in passes]

    def make(self, subnet: Optional[Subnet]) -> Any:
        """Make a pass's batch; call it for passes on one input in a row.

        Args:
            subnet: A subnet; ``None`` for the main network.

        Raises:
            TypeError: If the inputs are not one batch of images, or an entry
                or a sample cannot be resized.
            ValueError: If a sample lacks what its resizing needs, or its
                padding would be trained.
            RuntimeError: If an earlier pass wrote into its images.
        """
        if self.were_inputs_written() and not self._copy_inputs:
            raise RuntimeError(
                'the model writes into its input images in place, which '
                'later passes need: let it make new tensors, or give each '
                'pass a copy of its images (copy_inputs=True in st_step; the '
                'ST train loops find that out in the first iteration)'
            )
        entries = dict(self._choose(subnet))
        if self._copy_inputs and 'inputs' in entries:
            entries['inputs'] = tree_map(
                lambda x: x.clone() if isinstance(x, Tensor) else x,
                entries['inputs'],
            )
        self._handed_out = [
            (value, value._version)
            for value in tree_flatten(entries.get('inputs'))[0]
            if isinstance(value, Tensor)
        ]
        samples = entries.get('data_samples')
        if isinstance(samples, list):  # a pass may write into them
            entries['data_samples'] = [
                find_handler(s).copy(s) for s in samples
            ]
        if isinstance(self._data, (list, tuple)):
            return list(entries.values())
        return entries if isinstance(self._data, dict) else entries['inputs']

    def were_inputs_written(self) -> bool:
        """Whether a pass has written into its images, copies or not."""
        self._are_written = self._are_written or any(
            tensor._version != version for tensor, version in self._handed_out
        )
        return self._are_written

    def check_targets(self, subnet: Subnet) -> None:
        """Reject targets that handlers cannot reproduce at the main size.

        A target that is not the batch's own there would be a wrong one at
        every other size, too.

        Args:
            subnet: A subnet; one on the main images needs no targets of its
                own.

        Raises:
            ValueError: If a target is not reproduced, by its field.
        """
        samples = self._main.get('data_samples')
        if self._find_key(subnet) is not None and isinstance(samples, list):
            images = get_images(self._main)
            check_reproduced(samples, self._describe(images, images, images))

    def _choose(self, subnet: Optional[Subnet]) -> Dict[str, Any]:
        if subnet is None:
            return self._main
        key = self._find_key(subnet)
        if not self._inputs.are_alike or key != self._last_key:
            source = self._last if self._inputs.chained else self._main
            self._last = self._resize(source, subnet)
            self._last_key = key
        return self._last

    def _find_key(self, subnet: Optional[Subnet]) -> Hashable:
        """Find the shape of a pass's images; ``None``: the main images'."""
        if subnet is None or subnet.size is None:
            return None
        images = get_images(self._main)
        multiple, _ = self._find_multiples()
        shape = find_shape(images, subnet.size, multiple)
        return None if shape == tuple(images.shape[-2:]) else shape

    def _find_multiples(self) -> Tuple[int, int]:
        """Find what the sides of images become multiples of.

        If the preprocessor pads no main batch, subnets' are not padded
        either: the network would learn what no main batch has.

        Returns:
            The number for resizing, and that for padding afterwards.
        """
        preprocessor = self._model.data_preprocessor
        # mmseg has its own names, and `None` for a fixed size.
        divisor = (
            getattr(preprocessor, 'pad_size_divisor', None)
            or getattr(preprocessor, 'size_divisor', None)
            or 1
        )
        samples = self._main.get('data_samples')
        multiple = 1
        if isinstance(samples, list) and samples:
            multiple = find_handler(samples[0]).find_multiple(self._model)
        if divisor == 1:
            return multiple, 1
        return 1, divisor * multiple // gcd(divisor, multiple)

    def _resize(
        self, entries: Dict[str, Any], subnet: Subnet
    ) -> Dict[str, Any]:
        if subnet.size is None and not self._inputs.transforms:
            return entries
        images = get_images(entries)
        preprocessor = self._model.data_preprocessor
        multiple, divisor = self._find_multiples()
        small = self._inputs(
            images,
            subnet.size,
            getattr(preprocessor, 'mean', None),
            getattr(preprocessor, 'std', None),
            multiple,
        )
        if small.shape == images.shape:
            return dict(entries, inputs=small)
        # Padded as the preprocessor does, but not to a fixed size.
        value = getattr(
            preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0)
        )
        padded = pad_inputs(small, divisor, value)
        resizing = self._describe(images, small, padded)
        return {
            name: padded
            if name == 'inputs'
            else _resize_entry(name, value, resizing)
            for name, value in entries.items()
        }

    def _describe(self, *images: Tensor) -> Resizing:
        """Describe how main images were resized, then padded."""
        main, small, padded = ((x.shape[-2], x.shape[-1]) for x in images)
        _, divisor = self._find_multiples()
        return Resizing(
            main, small, padded, divisor, self._model, self._dataset
        )


def read_entries(data: Any) -> Dict[str, Any]:
    """Read a batch's entries by their names.

    The first two of a list are called as MMEngine's models call them.
    """
    if isinstance(data, dict):
        return data
    if not isinstance(data, (list, tuple)):
        return dict(inputs=data)
    names = [f'entry {i}' for i in range(len(data))]
    names[:2] = ['inputs', 'data_samples']
    return dict(zip(names, data))


def get_images(batch: Any) -> Tensor:
    """Get the preprocessed images, (N, C, H, W), which can be resized.

    Raises:
        TypeError: If there is no such tensor.
    """
    inputs = read_entries(batch).get('inputs')
    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        raise TypeError(
            "cannot change a subnet's input: the data preprocessor returns "
            f'no (N, C, H, W) tensor as `inputs`: {NO_SIZES}, nor '
            '`input_transforms` in train_cfg'
        )
    return inputs


def _resize_entry(name: str, value: Any, resizing: Resizing) -> Any:
    if name == 'data_samples' and isinstance(value, (list, tuple)):
        return resize_samples(value, resizing)
    if value is None or isinstance(value, (str, bool)):
        return value
    rule = find_batch_rule(name)
    if rule is not None:
        return rule(value, resizing)
    if (
        isinstance(value, Tensor)
        and value.ndim == 1
        and not value.is_floating_point()
    ):
        return value  # class labels, one for each image
    raise TypeError(describe_unknown(name, value, 'the batch'))
