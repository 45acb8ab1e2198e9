"""A classification head that trains subnets on the main network's output."""

import math
from copy import deepcopy
from functools import lru_cache, wraps
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from mmpretrain.models import BaseClassifier, ImageClassifier
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmst.registry import MODELS
from mmst.subnets import get_active_subnet
from mmst.subnets.options import check_config, check_flag

Config = Dict[str, Any]
TARGETS = ('main', 'label', 'both')
# Names that a head must not have itself.
OWN_NAMES = ('loss_kl', 'normalize_main', 'subnet_target', 'forget')
NO_LOGITS = (
    "only mmpretrain's ClsHead and its subclasses are known to give logits of "
    'classes, for one label per image, and not those of several tasks or '
    'labels, or embeddings'
)


@MODELS.register_module()
class STClsHead(nn.Module):
    """Makes a single-label classification head teach subnets (Eq. 1).

    ``STClsHead(head=...)`` is that head. Its class is made at run time, with
    ``STClsHead`` and its own class as bases, so attributes, names of
    parameters, checkpoint keys and ``isinstance`` are its own.

    In the main pass it returns its own losses and stores its detached logits.
    In a subnet's pass, inside :func:`mmst.subnets.activate`, it returns the
    divergence from the stored logits. This needs no labels, so it works with
    Mixup and CutMix. Predictions are from logits normalised as in training.

    Args:
        head: The head, a config or a module, which is changed in place: a
            ``ClsHead`` of mmpretrain, whose output is logits. With
            ``subnet_target='label'`` any head will do.
        loss_kl: Config of the loss between subnet and main logits, which may
            be one of mmpretrain's, such as ``CosineSimilarityLoss``.
        normalize_main: Whether ``loss_kl`` also normalises the main logits
            before the head's own loss and its predictions. The authors'
            released code does so in the loss; the paper does not.
        subnet_target: Target of subnets: 'main' (the main network's logits),
            'label' (by the head's own loss) or 'both'.
        init_cfg: Initialisation config, applied before the head's own.

    Raises:
        TypeError: If the head's logits are needed and it has none.
        ValueError: If an option is not allowed, logits of two classes would
            be standardised, or the head's loss uses sigmoids, which
            normalised logits cannot satisfy.

    Example:
        >>> head = STClsHead(
        ...     dict(type='LinearClsHead', num_classes=10, in_channels=64),
        ...     loss_kl=dict(type='mmst.KLMinusLoss', normalize='standardize'))
        >>> [name for name, _ in head.named_parameters()]
        ['fc.weight', 'fc.bias']
    """

    init_cfg: Any
    # Logits, one tensor a classifier: of the main pass, and of each call that
    # the head's own loss or predict makes, while it runs (None: with labels).
    _main_logits: Optional[List[Tensor]] = None
    _calls: Optional[List[Optional[List[Tensor]]]] = None
    # In a tuple, since a module would be a part of the head.
    _checked_loss: Tuple[Optional[nn.Module]] = (None,)

    def __init__(
        self,
        head: Any,
        loss_kl: Config = dict(type='mmst.KLMinusLoss'),
        normalize_main: bool = False,
        subnet_target: str = 'main',
        init_cfg: Optional[Config] = None,
    ) -> None:
        # The head is built by now: it is this object.
        if init_cfg is not None:
            inits = _make_list(init_cfg)
            for init in inits:
                check_config(
                    'STClsHead: init_cfg', init, "dict(type='Normal')"
                )
            self.init_cfg = [*inits, *_make_list(self.init_cfg or [])]
        example = "dict(type='mmst.KLMinusLoss')"
        check_config('STClsHead: loss_kl', loss_kl, example)
        self.loss_kl = MODELS.build(loss_kl)
        check_flag('STClsHead: normalize_main', normalize_main)
        if normalize_main and not hasattr(self.loss_kl, 'normalize_logits'):
            raise TypeError(
                f'{type(self.loss_kl).__name__} does not normalise '
                'logits: set model.head.normalize_main to False, or loss_kl '
                'to mmst.KLMinusLoss'
            )
        self.normalize_main = normalize_main
        if subnet_target not in TARGETS:
            raise ValueError(
                f'STClsHead: subnet_target {subnet_target!r} is not one of '
                f'{list(TARGETS)}'
            )
        self.subnet_target = subnet_target
        if self._needs_logits():
            if not isinstance(self, ClsHead):
                raise self._make_refusal(NO_LOGITS)
            if getattr(self, 'num_classes', None) is not None:
                self._check_losses(self.num_classes)

    # With the signature of __init__, which gets the same arguments.
    @wraps(__init__, assigned=())  # type: ignore[misc]
    def __new__(cls, head: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(head, nn.Module):
            check_config('STClsHead: head', head, "dict(type='LinearClsHead')")
            head = MMPRETRAIN_MODELS.build(head)
        taken = [name for name in OWN_NAMES if hasattr(head, name)]
        if taken:
            raise TypeError(
                f'STClsHead cannot wrap {type(head).__name__}, which has '
                f'{taken} itself: rename these; if it is an STClsHead '
                'already, take it as it is'
            )
        head.__class__ = _make_class(cls, type(head))  # type: ignore[arg-type]
        return head

    def __reduce_ex__(self, protocol: Any) -> Tuple[Any, ...]:
        # Pickle cannot find the class by its name, but its bases.
        reduced: Any = super().__reduce_ex__(protocol)
        return (_make_empty_head, type(self).__bases__, *reduced[2:])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the head's output; inside its own methods normalised."""
        output = super().__call__(*args, **kwargs)
        if self._calls is None:
            return output
        logits = self._list_logits(output)
        self._check_losses(logits[0].shape[1])
        # ArcFace adds a margin for its labels; subnets must not copy it.
        self._calls.append(None if len(args) + len(kwargs) > 1 else logits)
        normal = [self.normalize_main_logits(z) for z in logits]
        return normal[0] if isinstance(output, Tensor) else tuple(normal)

    def loss(
        self, feats: Any, data_samples: List[DataSample], **kwargs: Any
    ) -> Dict[str, Tensor]:
        """Compute the losses of the main network, or of the active subnet.

        Args:
            feats: Features of the backbone or neck.
            data_samples: The N samples of the batch.
            **kwargs: Passed to the head's own ``loss``.

        Returns:
            dict: The head's own losses (main pass; subnets that learn from
            labels) and ``loss_kl`` (subnets that learn from the main network,
            which has to run before them).
        """
        if not self._needs_logits():
            return super().loss(feats, data_samples, **kwargs)  # type: ignore[misc]
        is_main = get_active_subnet() is None
        losses: Dict[str, Tensor] = {}
        logits = None
        if is_main or self.subnet_target != 'main':
            losses, logits = self._run('loss', feats, data_samples, **kwargs)
        if self.subnet_target == 'label':
            return losses
        if logits is None:
            logits = self._list_logits(self(feats))
        if is_main:
            self._main_logits = [z.detach() for z in logits]
        elif self._main_logits is None:
            raise RuntimeError(
                'there are no main logits for the subnet to learn from: run '
                'the main network on the batch first, as the ST train loops do'
            )
        else:
            terms = map(self.loss_kl, logits, self._main_logits)
            own: Any = losses.get('loss_kl', 0)  # the head may have one
            losses['loss_kl'] = sum(terms, own)
        return losses

    def predict(self, *args: Any, **kwargs: Any) -> List[DataSample]:
        """Return the head's own predictions, from logits as in training."""
        if not self.normalize_main:
            return super().predict(*args, **kwargs)  # type: ignore[misc]
        return self._run('predict', *args, **kwargs)[0]

    def normalize_main_logits(self, logits: Tensor) -> Tensor:
        """Normalise (N, num_classes) logits as the main network's loss."""
        if not self.normalize_main:
            return logits
        return self.loss_kl.normalize_logits(logits)

    def forget(self) -> None:
        """Drop the stored main logits at the end of an iteration."""
        self._main_logits = None

    def _needs_logits(self) -> bool:
        return self.normalize_main or self.subnet_target != 'label'

    def _run(self, method: str, *args: Any, **kwargs: Any) -> Tuple[Any, Any]:
        """Run a method of the head's own, and record the logits in it."""
        calls: List[Any] = []
        self._calls = calls
        try:
            result = getattr(super(), method)(*args, **kwargs)
        finally:
            self._calls = None
        if not calls:
            reason = f'its `{method}` does not call the head to get the logits'
            raise self._make_refusal(reason)
        return result, calls[-1]

    def _list_logits(self, output: Any) -> List[Tensor]:
        """List the logits of one or several classifiers."""
        logits = _make_list(output)
        num_classes = getattr(self, 'num_classes', None)
        for item in logits:
            shape: Any = getattr(item, 'shape', ())
            if len(shape) != 2 or num_classes not in (None, shape[1]):
                raise self._make_refusal(
                    f'it returns {tuple(shape) or type(item).__name__}, not '
                    f'logits of shape (N, num_classes={num_classes})'
                )
        return logits

    def _make_refusal(self, reason: str) -> TypeError:
        return TypeError(
            f'STClsHead cannot wrap {_get_plain_name(self)}: {reason}. With '
            "subnet_target='label' and normalize_main=False in model.head, "
            'its subnets learn from the labels, by its own loss'
        )

    def _check_losses(self, num_classes: int) -> None:
        """Refuse losses from which these logits cannot learn.

        Hooks may swap the head's loss, so each one is checked when it is new.
        """
        normalize = getattr(self.loss_kl, 'normalize', None)
        if num_classes == 2 and normalize == 'standardize':
            raise ValueError(
                'with 2 classes, standardised logits are always +1 and -1, '
                'and nothing is learned: set '
                "model.head.loss_kl.normalize to 'l2' or None"
            )
        loss: Any = getattr(self, 'loss_module', None)
        if not self.normalize_main or loss is self._checked_loss[0]:
            return
        if not is_of_softmax(loss, num_classes):
            raise ValueError(
                f'normalize_main=True normalises the logits of '
                f'{_get_plain_name(self)}, but its loss, '
                f'{type(loss).__name__}, uses sigmoids, which normalised '
                'logits cannot satisfy: set normalize_main=False in '
                'model.head, or use_sigmoid=False in the loss of its head'
            )
        self._checked_loss = (loss,)


def check_teaching_head(model: nn.Module) -> None:
    """Refuse a classifier whose subnets would have nothing to learn from.

    Subnets of other models learn from the ground truth.

    Raises:
        ValueError: If it is a classifier and its head is not an ``STClsHead``.

    Example:
        >>> check_teaching_head(model)  # its head is an STClsHead
    """
    head = getattr(model, 'head', None)
    if not isinstance(model, BaseClassifier) or isinstance(head, STClsHead):
        return
    name = type(head).__name__
    if not isinstance(model, ImageClassifier):
        # TimmClassifier and HuggingFaceClassifier are a network as a whole.
        told = (
            f'{type(model).__name__} has no mmpretrain head: use '
            'ImageClassifier, with the network as backbone (for timm, '
            "dict(type='TIMMBackbone', model_name=...)), a neck and "
            "head=dict(type='mmst.STClsHead', head=...)"
        )
    elif head is not None and not isinstance(head, ClsHead):
        told = (
            f'model.head is {name}, and {NO_LOGITS}. To train its subnets on '
            "the labels, by its own loss, write head=dict(type='mmst."
            f"STClsHead', subnet_target='label', head=dict(type={name!r}, "
            '...))'
        )
    else:
        told = (
            f"model.head is {name}: set model.head to dict(type='mmst."
            "STClsHead', head=dict(...your head...))"
        )
    raise ValueError(
        'subnets of a classifier learn from the logits of the main network '
        f'through STClsHead, but {told}'
    )


def is_of_softmax(loss: nn.Module, num_classes: int) -> bool:
    """Try whether a loss stays the same if a number is added to all logits.

    That of a softmax does. Sigmoids need one large positive logit and N - 1
    negative ones, which normalised logits, of fixed length, cannot be. A loss
    that takes neither labels, (N, ), nor scores, (N, num_classes), passes.
    """
    logits = torch.linspace(-1, 2, 2 * num_classes).view(2, num_classes)
    labels = torch.tensor([0, num_classes - 1])
    for target in (labels, F.one_hot(labels, num_classes).float()):
        try:
            # On a copy: some losses have counters.
            values = [
                float(deepcopy(loss).cpu()(logits + shift, target))
                for shift in (0.0, 2.0)
            ]
        except Exception:  # any error about the kind of labels
            continue
        return math.isclose(*values, rel_tol=1e-3, abs_tol=1e-6)
    return True


@lru_cache(maxsize=None)
def _make_class(teacher: Any, plain: Any) -> Any:
    # PyTorch copies modules by __new__ of their class, without arguments.
    members = dict(__new__=plain.__new__, __module__=teacher.__module__)
    return type(f'ST{plain.__name__}', (teacher, plain), members)


def _make_empty_head(teacher: Any, plain: Any) -> Any:
    made = _make_class(teacher, plain)
    return made.__new__(made)


def _get_plain_name(head: nn.Module) -> str:
    return type(head).__bases__[-1].__name__


def _make_list(value: Any) -> List[Any]:
    return [*value] if isinstance(value, (list, tuple)) else [value]
