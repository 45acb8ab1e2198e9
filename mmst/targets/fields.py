"""Resize the fields of a sample, each by its rule.

An unknown field is refused by name: left unchanged, it would silently train a
subnet on wrong targets.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from torch import nn

Shape = Tuple[int, int]
#: Advice that helps wherever subnets cannot get smaller inputs.
NO_SIZES = 'set neither `size_range` nor `sizes` in SubnetSamplerHook'


@dataclass(frozen=True)
class Resizing:
    """How a subnet's batch was made from the main one.

    The whole batch was resized, the padding around its smaller images
    included, and then padded to the right and the bottom.

    Attributes:
        main_shape: (H, W) of the main batch.
        resized_shape: (H, W) that it was resized to.
        padded_shape: (H, W) of the subnet's batch.
        divisor: Number that divides the sides of ``padded_shape``.
        model: The model, whose ``data_preprocessor`` has the padding values.
        dataset: The training data set, whose pipeline made the targets.
            ``None`` where it is not known.

    Example:
        >>> half = Resizing(
        ...     (64, 96), (32, 48), (32, 64), divisor=32, model=model)
        >>> half.scale
        (0.5, 0.5)
        >>> half.resize_shape((60, 80))
        (30, 40)
    """

    main_shape: Shape
    resized_shape: Shape
    padded_shape: Shape
    divisor: int
    model: nn.Module
    dataset: Any = None

    @property
    def scale(self) -> Tuple[float, float]:
        """New height over old, new width over old."""
        height, width = (
            new / old for new, old in zip(self.resized_shape, self.main_shape)
        )
        return height, width

    def resize_shape(self, shape: Sequence[int]) -> Shape:
        """Return the resized (H, W) of an image of the main batch."""
        height, width = (
            max(1, round(side * factor))
            for side, factor in zip(shape, self.scale)
        )
        return height, width

    def update_scale_factor(self, old: Sequence[float]) -> Tuple[float, float]:
        """Return (w, h) factors since the image file, given the old ones."""
        height, width = self.scale
        return old[0] * width, old[1] * height

    def get_pad_value(self, name: str, default: float) -> float:
        """Get the data preprocessor's padding value of one kind of data."""
        return getattr(self.model.data_preprocessor, name, default)


# Takes a field's value and how the images were resized; returns a new value.
FieldRule = Callable[[Any, Resizing], Any]


def keep(value: Any, resizing: Resizing) -> Any:
    """Keep a value: the rule of a field that does not depend on the size.

    Example:
        >>> rule = register_field('weather')(keep)
    """
    return value


_RULES: Dict[str, FieldRule] = {}

#: Fields about an image's origin, and about what was done to it before it got
#: the main batch's size.
ORIGIN = frozenset(
    (
        'id',
        'img_id',
        'image_id',
        'sample_idx',
        'video_id',
        'frame_id',
        'category_id',
        'dataset_name',
        'img_path',
        'seg_map_path',
        'depth_map_path',
        'ori_shape',
        'flip',
        'flip_direction',
        'flip_indices',
        'reduce_zero_label',
    )
)

#: Shapes that the toolboxes keep beside the annotations.
SHAPES: Dict[str, FieldRule] = dict(
    img_shape=lambda old, resizing: resizing.resize_shape(old),
    scale_factor=lambda old, resizing: resizing.update_scale_factor(old),
    batch_input_shape=lambda old, resizing: resizing.padded_shape,
)


def register_field(name: str) -> Callable[[FieldRule], FieldRule]:
    """Register how a field shrinks with its image, in samples of any type.

    Args:
        name: The field's name, such as ``points``; or its path, such as
            ``gt_instances.points``, for that one alone; or the full name of
            its values' class, such as ``my_package.Points``, for fields of
            any name. Metadata are fields, too, and so are entries of the batch
            beside ``inputs`` and ``data_samples``.

    Example:
        >>> @register_field('points')
        ... def shrink_points(points, resizing):
        ...     height, width = resizing.scale
        ...     return points * points.new_tensor([width, height])
        >>> _ = register_field('embedding')(keep)
    """

    def register(rule: FieldRule) -> FieldRule:
        _RULES[name] = rule
        return rule

    return register


def find_batch_rule(name: str) -> Optional[FieldRule]:
    """Find the rule that a user registered for an entry of the batch.

    Example:
        >>> _ = register_field('camera')(keep)
        >>> find_batch_rule('camera') is keep
        True
        >>> find_batch_rule('depth') is None
        True
    """
    return _RULES.get(name)


def resize_fields(
    sample: Any,
    resizing: Resizing,
    rules: Mapping[str, FieldRule],
    prefix: str = '',
) -> Any:
    """Resize a copy of a ``BaseDataElement``, field by field.

    Rules are named as in :func:`register_field`, whose rules come first. The
    prefix is the path of an element in a sample, whose metadata stay.

    Raises:
        TypeError: If a field is unknown.
    """
    from mmengine.structures import BaseDataElement

    small = sample.clone()
    items = sample.items() if prefix else sample.all_items()
    # In a fixed order: MMEngine keeps names in a set.
    for name, value in sorted(items, key=lambda item: item[0]):
        path = prefix + name
        rule = find_user_rule(path, value) or _look_up(path, value, rules)
        if rule is not None:
            new = rule(value, resizing)
        elif isinstance(value, BaseDataElement):
            new = resize_fields(value, resizing, rules, f'{path}.')
        elif name in ORIGIN and not prefix or _is_no_number(value):
            continue
        else:
            raise TypeError(
                describe_unknown(path, value, type(sample).__name__)
            )
        if new is not value:
            is_meta = name in sample.metainfo_keys()
            small.set_field(
                new, name, field_type='metainfo' if is_meta else 'data'
            )
    return small


def find_user_rule(path: str, value: Any) -> Optional[FieldRule]:
    """Find the rule that a user registered for a field."""
    return _look_up(path, value, _RULES)


def _look_up(
    path: str, value: Any, rules: Mapping[str, FieldRule]
) -> Optional[FieldRule]:
    """Look up a field's path, its name and the classes of its value."""
    classes = [f'{c.__module__}.{c.__qualname__}' for c in type(value).__mro__]
    names = (path, path.rpartition('.')[2], *classes)
    return next((rules[name] for name in names if name in rules), None)


def _is_no_number(value: Any) -> bool:
    """Whether a value is text, a flag or ``None``, unrelated to pixels."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_no_number, value))
    if isinstance(value, dict):
        return all(map(_is_no_number, value.values()))
    return value is None or isinstance(value, (str, bool))


def describe_unknown(path: str, value: Any, owner: str) -> str:
    """Describe a field without a rule, and how to register one."""
    return (
        f'cannot give a subnet a smaller input: nothing says how `{path}` of '
        f'{owner} ({type(value).__name__}) shrinks with its image. Register a '
        f"rule for it with `mmst.targets.register_field('{path}')`, which is "
        f'`mmst.targets.keep` if it does not depend on the size, or {NO_SIZES}'
    )
