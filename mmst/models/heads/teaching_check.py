"""Check that the subnets of a model have a training target."""

from mmpretrain.models import BaseClassifier, ImageClassifier
from torch import nn

from .st_cls_head import STClsHead


def check_teaching_head(model: nn.Module) -> None:
    """Refuse a classifier whose subnets would have nothing to learn from.

    Args:
        model: The model. If it is no classifier, subnets learn from the
            ground truth.

    Raises:
        ValueError: If it is a classifier and its head is not an ``STClsHead``.

    Example:
        >>> check_teaching_head(model)  # its head is an STClsHead
    """
    head = getattr(model, 'head', None)
    if not isinstance(model, BaseClassifier) or isinstance(head, STClsHead):
        return
    learn = 'subnets of a classifier learn from the main network through'
    if not isinstance(model, ImageClassifier):
        # TimmClassifier and HuggingFaceClassifier are a network as a whole.
        raise ValueError(
            f'{learn} STClsHead, but {type(model).__name__} has no mmpretrain '
            'head: use ImageClassifier, with the network as backbone '
            "(for timm, dict(type='TIMMBackbone', model_name=...)), a neck "
            "and head=dict(type='mmst.STClsHead', head=...)"
        )
    raise ValueError(
        f'{learn} STClsHead, but model.head is {type(head).__name__}: '
        "set model.head to dict(type='mmst.STClsHead', "
        'head=dict(...your head...))'
    )
