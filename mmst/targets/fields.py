"""Resize the fields of a sample, each by its rule.

An unknown field is refused by name: left unchanged, it would silently train a
subnet on wrong targets.
"""

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional

if TYPE_CHECKING:
    from .handler import Resizing

#: Advice that helps wherever subnets cannot get smaller inputs.
NO_SIZES = 'set neither `size_range` nor `sizes` in SubnetSamplerHook'

# Takes a field's value and how the images were resized; returns a new value.
FieldRule = Callable[[Any, 'Resizing'], Any]


def keep(value: Any, resizing: 'Resizing') -> Any:
    """Keep a value: the rule of a field that does not depend on the size.

    Example:
        >>> rule = register_field('weather')(keep)
    """
    return value


_RULES: Dict[str, FieldRule] = {}

#: Metadata about an image's origin, and about what was done to it before it
#: got the main batch's size.
ORIGIN = dict.fromkeys(
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
    ),
    keep,
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
    """Find how a batch's entry shrinks with the images, if a user said so.

    Args:
        name: Its name in the batch, beside ``inputs`` and ``data_samples``.

    Returns:
        The rule that was registered with :func:`register_field`.

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
    resizing: 'Resizing',
    rules: Mapping[str, FieldRule],
    metainfo: Optional[Mapping[str, Any]] = None,
) -> Any:
    """Resize a copy of a sample, field by field.

    Args:
        sample: A ``BaseDataElement``, which may contain others; not changed.
        resizing: How the images were resized.
        rules: How the fields of this type of sample shrink; names as in
            :func:`register_field`, whose rules come first.
        metainfo: New metadata that replaces the sample's own.

    Raises:
        TypeError: If a field is unknown.
    """
    owner = type(sample).__name__
    small = _resize_element(sample, '', owner, resizing, rules)
    new = dict(metainfo or {})
    for name, value in sample.metainfo_items():
        rule = find_user_rule(name, value)
        if rule is None and name in new:
            continue
        rule = rule or _find_rule(name, value, {**ORIGIN, **rules})
        if rule is None:
            raise TypeError(describe_unknown(name, value, owner))
        if rule is not keep:
            new[name] = rule(value, resizing)
        else:
            new.pop(name, None)
    small.set_metainfo(new)
    return small


def _resize_element(
    element: Any,
    prefix: str,
    owner: str,
    resizing: 'Resizing',
    rules: Mapping[str, FieldRule],
) -> Any:
    from mmengine.structures import BaseDataElement

    small = element.clone()
    # In a fixed order: MMEngine keeps names in a set.
    for name, value in sorted(element.items(), key=lambda item: item[0]):
        path = prefix + name
        rule = _find_rule(path, value, rules)
        if rule is not None:
            new = rule(value, resizing)
        elif isinstance(value, BaseDataElement):
            new = _resize_element(value, f'{path}.', owner, resizing, rules)
        else:
            raise TypeError(describe_unknown(path, value, owner))
        if new is not value:
            small.set_field(new, name)
    return small


def find_user_rule(path: str, value: Any) -> Optional[FieldRule]:
    """Find the rule that a user registered for a field."""
    return _look_up(path, value, _RULES)


def _find_rule(
    path: str, value: Any, rules: Mapping[str, FieldRule]
) -> Optional[FieldRule]:
    """Find a user's rule, the sample type's, or one of the value's type."""
    rule = find_user_rule(path, value) or _look_up(path, value, rules)
    return rule or (keep if _is_no_number(value) else None)


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
    """Describe a field without a rule, and how to register one.

    Args:
        path: Path of the field, or name of a batch's entry.
        value: Its value.
        owner: Name of the sample's type, or of the batch.
    """
    return (
        f'cannot give a subnet a smaller input: nothing says how `{path}` of '
        f'{owner} ({type(value).__name__}) shrinks with its image. Register a '
        f"rule for it with `mmst.targets.register_field('{path}')`, which is "
        f'`mmst.targets.keep` if it does not depend on the size, or {NO_SIZES}'
    )
