"""A classification head that trains subnets on the main network's output."""

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmpretrain.models.heads import MultiLabelClsHead, MultiTaskHead
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmst.registry import MODELS
from mmst.subnets import get_active_subnet
from mmst.subnets.options import check_config, check_flag

from .heard_logits import get_last_heard, hear_logits, list_logits
from .softmax_check import is_of_softmax

Config = Dict[str, Any]
TARGETS = ('main', 'label', 'both')


@MODELS.register_module()
class STClsHead(BaseModule):
    """Wraps any single-label classification head of mmpretrain (Eq. 1).

    In the main pass it returns the wrapped head's own losses and stores the
    detached logits. In a subnet's pass, inside
    :func:`mmst.subnets.activate`, it returns the divergence from the stored
    logits. This needs no labels, so it works with Mixup and CutMix.
    Predictions are the wrapped head's, from logits normalised as in training.
    So are the checkpoint keys: the wrapped and the plain head load each
    other's checkpoints.

    Args:
        head: The head to wrap, a config or a module.
        loss_kl: Config of the loss between subnet and main logits, which may
            be one of mmpretrain's, such as ``CosineSimilarityLoss``.
        normalize_main: Whether ``loss_kl`` also normalises the main logits
            before the wrapped head's own loss and its predictions. The
            authors' released code does so in the loss; the paper does not.
        subnet_target: What subnets learn from: 'main' (the main network's
            logits), 'label' (by the wrapped head's own loss) or 'both'.
        init_cfg: Initialisation config of this module; the wrapped head has
            its own.

    Raises:
        TypeError: If the head is not for one label per image.
        ValueError: If the value of an option is not allowed, logits of two
            classes would be standardised, or the wrapped head's loss uses
            sigmoids, which normalised logits cannot satisfy.

    Example:
        >>> head = STClsHead(
        ...     dict(type='LinearClsHead', num_classes=10, in_channels=64),
        ...     loss_kl=dict(type='mmst.KLMinusLoss', normalize='standardize'))
        >>> list(head.state_dict())  # those of the wrapped head
        ['fc.weight', 'fc.bias']
    """

    def __init__(
        self,
        head: Union[Config, nn.Module],
        loss_kl: Config = dict(type='mmst.KLMinusLoss'),
        normalize_main: bool = False,
        subnet_target: str = 'main',
        init_cfg: Optional[Config] = None,
    ) -> None:
        inits = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
        for init in inits if init_cfg is not None else ():
            check_config('STClsHead: init_cfg', init, "dict(type='Normal')")
        super().__init__(init_cfg)
        self.head = self._make(head)
        if isinstance(self.head, (MultiLabelClsHead, MultiTaskHead)):
            raise TypeError(
                f'STClsHead cannot wrap {type(self.head).__name__}: the '
                'divergence is between softmax outputs, which are for one '
                'label per image'
            )
        check_config(
            'STClsHead: loss_kl', loss_kl, "dict(type='mmst.KLMinusLoss')"
        )
        self.loss_kl = MODELS.build(loss_kl)
        if (
            getattr(self.head, 'num_classes', None) == 2
            and getattr(self.loss_kl, 'normalize', None) == 'standardize'
        ):
            raise ValueError(
                'with 2 classes, standardised logits are always +1 and -1, '
                'and nothing is learned: set '
                "model.head.loss_kl.normalize to 'l2' or None"
            )
        self._check_options(normalize_main, subnet_target)
        self.normalize_main = normalize_main
        self._check_loss(getattr(self.head, 'loss_module', None))
        self.subnet_target = subnet_target
        self._main_logits: Optional[List[Tensor]] = None
        self._register_state_dict_hook(_drop_prefix)
        self._register_load_state_dict_pre_hook(self._add_prefix)

    @staticmethod
    def _make(head: Union[Config, nn.Module]) -> nn.Module:
        if isinstance(head, nn.Module):
            return head
        check_config('STClsHead: head', head, "dict(type='LinearClsHead')")
        return MMPRETRAIN_MODELS.build(head)

    def _check_loss(self, loss: Any) -> None:
        """Refuse a loss that normalised logits cannot satisfy."""
        if not self.normalize_main or not isinstance(loss, nn.Module):
            return
        num_classes = getattr(self.head, 'num_classes', None) or 3
        if not is_of_softmax(loss, num_classes):
            raise ValueError(
                f'normalize_main=True normalises the logits of '
                f'{type(self.head).__name__}, but its loss, '
                f'{type(loss).__name__}, uses sigmoids, which normalised '
                'logits cannot satisfy: set normalize_main=False in '
                'model.head, or use_sigmoid=False in the loss of the wrapped '
                'head'
            )

    def _check_options(self, normalize_main: bool, subnet_target: str) -> None:
        if subnet_target not in TARGETS:
            raise ValueError(
                f'STClsHead: subnet_target {subnet_target!r} is not one of '
                f'{list(TARGETS)}'
            )
        check_flag('STClsHead: normalize_main', normalize_main)
        if normalize_main and not hasattr(self.loss_kl, 'normalize_logits'):
            raise TypeError(
                f'{type(self.loss_kl).__name__} does not normalise '
                'logits: set model.head.normalize_main to False, or loss_kl '
                'to mmst.KLMinusLoss'
            )

    def loss(
        self,
        feats: Tuple[Tensor, ...],
        data_samples: List[DataSample],
        **kwargs: Any,
    ) -> Dict[str, Tensor]:
        """Compute the losses of the main network, or of the active subnet.

        Args:
            feats: Features of the backbone or neck, for the wrapped head.
            data_samples: The N samples of the batch.
            **kwargs: Passed to the wrapped head's ``loss``.

        Raises:
            RuntimeError: If a subnet that learns from the main network runs
                before it.
        """
        if get_active_subnet() is None:
            losses, self._main_logits = self._compute_own_loss(
                feats, data_samples, **kwargs
            )
            return losses
        losses = {}
        if self.subnet_target != 'main':
            losses, _ = self._compute_own_loss(feats, data_samples, **kwargs)
        if self.subnet_target != 'label':
            losses['loss_kl'] = self._compute_divergence(feats)
        return losses

    def _compute_divergence(self, feats: Tuple[Tensor, ...]) -> Tensor:
        """Compute the active subnet's divergence from the main network."""
        if self._main_logits is None:
            raise RuntimeError(
                'there are no main logits for the subnet to learn from: run '
                'the main network on the batch first, as the ST train loops do'
            )
        logits = list_logits(self.head(feats))
        divergence: Tensor = sum(
            self.loss_kl(subnet, main)
            for subnet, main in zip(logits, self._main_logits)
        )
        return divergence

    def _compute_own_loss(
        self,
        feats: Tuple[Tensor, ...],
        data_samples: List[DataSample],
        **kwargs: Any,
    ) -> Tuple[Dict[str, Tensor], List[Tensor]]:
        """Compute the wrapped head's losses and the detached logits."""
        with hear_logits(self.head, self.normalize_main_logits) as heard:
            losses = self.head.loss(feats, data_samples, **kwargs)
        logits, besides_feats = get_last_heard(heard, self.head, 'loss')
        if besides_feats:
            # ArcFace adds a margin for its labels; subnets must not copy it.
            with torch.no_grad():
                logits = list_logits(self.head(feats))
        return losses, [z.detach() for z in logits]

    def normalize_main_logits(self, logits: Tensor) -> Tensor:
        """Normalise logits as in the main network's training.

        Args:
            logits: (N, num_classes).
        """
        if not self.normalize_main:
            return logits
        normal: Tensor = self.loss_kl.normalize_logits(logits)
        return normal

    def forget(self) -> None:
        """Drop the remembered main logits at the end of an iteration."""
        self._main_logits = None

    def forward(self, feats: Tuple[Tensor, ...]) -> Any:
        """Return the wrapped head's logits."""
        return self.head(feats)

    def predict(self, *args: Any, **kwargs: Any) -> List[DataSample]:
        """Return the wrapped head's predictions.

        If training normalises logits, so do the scores: the length of the
        logits was not trained.
        """
        with hear_logits(self.head, self.normalize_main_logits) as heard:
            predicted: List[DataSample] = self.head.predict(*args, **kwargs)
        if self.normalize_main:
            get_last_heard(heard, self.head, 'predict')
        return predicted

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The wrapped head's class, so that ``isinstance`` accepts both.

        mmpretrain's hooks look for heads by class, such as ArcFaceClsHead.
        """
        head = vars(self).get('_modules', {}).get('head')
        return STClsHead if head is None else type(head)

    def __reduce_ex__(self, protocol: Any) -> Tuple[Any, ...]:
        # pickle checks the class that the object claims to have.
        return _make_empty_head, (), self.__dict__

    def __getattr__(self, name: str) -> Any:
        """Read attributes of the wrapped head: ``pre_logits``, ``fc`` ..."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == 'head':  # not built yet
                raise
            return getattr(self.head, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set attributes of the wrapped head: hooks swap ``loss_module``."""
        head = self.__dict__.get('_modules', {}).get('head')
        is_own = (
            head is None
            or name in self.__dict__
            or name in self._modules
            or hasattr(type(self), name)
        )
        if not is_own and hasattr(head, name):
            if name == 'loss_module':  # mmpretrain's recipes switch it
                self._check_loss(value)
            setattr(head, name, value)
        else:
            super().__setattr__(name, value)

    def _add_prefix(
        self, state_dict: Dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        """Turn the plain head's keys into this module's before loading."""
        inner = f'{prefix}head.'
        # Remove all before adding any: the head may have a part named `head`.
        state_dict.update(
            {
                inner + key[len(prefix) :]: state_dict.pop(key)
                for key in list(state_dict)
                if key.startswith(prefix)
            }
        )


def _make_empty_head() -> STClsHead:
    return STClsHead.__new__(STClsHead)


def _drop_prefix(
    module: nn.Module,
    state_dict: Dict[str, Tensor],
    prefix: str,
    local_metadata: Dict[str, Any],
) -> None:
    """Turn the collected keys into those of the plain head."""
    inner = f'{prefix}head.'
    for key in list(state_dict):
        if key.startswith(inner):
            state_dict[prefix + key[len(inner) :]] = state_dict.pop(key)
