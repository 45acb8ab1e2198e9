"""The batch of each pass: the main batch, and what subnets get of it."""

from functools import partial
from math import gcd
from typing import Any, Dict, Hashable, List, Optional, Sequence, Tuple

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

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
    images and the data samples. ``data`` itself is not changed.

    Attributes:
        are_written: Whether a pass wrote into its images, copies or not; known
            once the next batch is made.

    Raises:
        ValueError: If transforms would move pixels under annotations.
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
        self._preprocessor = preprocessor = model.data_preprocessor
        self._copy_inputs = copy_inputs
        # Images of the last pass, each with its version.
        self._handed_out: List[Tuple[Tensor, int]] = []
        self.are_written = False
        samples = self._main.get('data_samples')
        self._samples = samples if isinstance(samples, list) else []
        moved = sorted({'crop', 'flip'} & {*subnet_inputs.transforms})
        for sample in self._samples if moved else ():
            if find_handler(sample).is_positional:
                raise ValueError(
                    f'input_transforms in train_cfg has {moved}, which move '
                    'pixels under the annotations of '
                    f'{type(sample).__name__}: they are for classification '
                    'only'
                )
        # mmseg has its own names, and `None` for a fixed size.
        divisor = (
            getattr(preprocessor, 'pad_size_divisor', None)
            or getattr(preprocessor, 'size_divisor', None)
            or 1
        )
        multiple = 1
        if self._samples:
            multiple = find_handler(self._samples[0]).find_multiple(model)
        # Sides become multiples of the first by resizing, of the second by
        # padding. If the preprocessor pads no main batch, subnets' are not
        # padded either: the network would learn what no main batch has.
        self._multiple, self._divisor = (
            (multiple, 1)
            if divisor == 1
            else (1, divisor * multiple // gcd(divisor, multiple))
        )
        self._make_resizing: Any = partial(
            Resizing, divisor=self._divisor, model=model, dataset=dataset
        )

    def list_keys(self, passes: Sequence[Optional[Subnet]]) -> List[Hashable]:
        """List a key for each pass, equal for passes on the same input."""
        if not self._inputs.are_alike:
            return list(range(len(passes)))
        return [self._find_key(subnet) for subnet in passes]

    def make(self, subnet: Optional[Subnet]) -> Any:
        """Make a pass's batch; call it for passes on one input in a row.

        Raises:
            TypeError: If the inputs are not one batch of images, or an entry
                or a sample cannot be resized.
            ValueError: If a sample lacks what its resizing needs, or its
                padding would be trained.
            RuntimeError: If an earlier pass wrote into its images.
        """
        self.are_written |= any(
            image._version != version for image, version in self._handed_out
        )
        if self.are_written and not self._copy_inputs:
            raise RuntimeError(
                'the model writes into its input images in place, which '
                'later passes need: let it make new tensors, or give each '
                'pass a copy of its images (copy_inputs=True in st_step; the '
                'ST train loops find that out in the first iteration)'
            )
        entries = dict(self._main if subnet is None else self._shrink(subnet))
        images, tree = tree_flatten(entries.get('inputs'))
        if self._copy_inputs and 'inputs' in entries:
            images = [
                x.clone() if isinstance(x, Tensor) else x for x in images
            ]
            entries['inputs'] = tree_unflatten(images, tree)
        self._handed_out = [
            (x, x._version) for x in images if isinstance(x, Tensor)
        ]
        samples = entries.get('data_samples')
        if isinstance(samples, list):  # a pass may write into them
            entries['data_samples'] = [
                find_handler(s).copy(s) for s in samples
            ]
        if isinstance(self._data, (list, tuple)):
            return list(entries.values())
        return entries if isinstance(self._data, dict) else entries['inputs']

    def check_targets(self, subnet: Subnet) -> None:
        """Reject targets that handlers cannot reproduce at the main size.

        A target that is not the batch's own there would be a wrong one at
        every other size, too. A subnet on the main images needs none.

        Raises:
            ValueError: If a target is not reproduced, by its field.
        """
        if self._samples and self._find_key(subnet) is not None:
            shape = tuple(get_images(self._main).shape[-2:])
            resizing = self._make_resizing(shape, shape, shape)
            check_reproduced(self._samples, resizing)

    def _find_key(self, subnet: Optional[Subnet]) -> Hashable:
        """Find the shape of a pass's images; ``None``: the main images'."""
        if subnet is None or subnet.size is None:
            return None
        images = get_images(self._main)
        shape = find_shape(images, subnet.size, self._multiple)
        return None if shape == tuple(images.shape[-2:]) else shape

    def _shrink(self, subnet: Subnet) -> Dict[str, Any]:
        """Make a subnet's entries, unless the last ones are the same."""
        key = self._find_key(subnet)
        if not self._inputs.are_alike or key != self._last_key:
            source = self._last if self._inputs.chained else self._main
            self._last = self._resize(source, subnet)
            self._last_key = key
        return self._last

    def _resize(
        self, entries: Dict[str, Any], subnet: Subnet
    ) -> Dict[str, Any]:
        if subnet.size is None and not self._inputs.transforms:
            return entries
        images = get_images(entries)
        preprocessor = self._preprocessor
        small = self._inputs(
            images,
            subnet.size,
            getattr(preprocessor, 'mean', None),
            getattr(preprocessor, 'std', None),
            self._multiple,
        )
        if small.shape == images.shape:
            return dict(entries, inputs=small)
        # Padded as the preprocessor does, but not to a fixed size.
        value = getattr(
            preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0)
        )
        padded = pad_inputs(small, self._divisor, value)
        resizing = self._make_resizing(
            *(tuple(x.shape[-2:]) for x in (images, small, padded))
        )
        return {
            name: padded
            if name == 'inputs'
            else _resize_entry(name, value, resizing)
            for name, value in entries.items()
        }


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
