"""A classification head that teaches subnets what the main network says."""

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmpretrain.models import BaseClassifier
from mmpretrain.models.heads import MultiLabelClsHead, MultiTaskHead
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmst.registry import MODELS
from mmst.subnets import active_subnet

Config = Dict[str, Any]


@MODELS.register_module()
class STClsHead(BaseModule):
    """Wraps any single-label classification head of mmpretrain (Eq. 1).

    In the main pass it gives the wrapped head's own losses and remembers the
    logits, detached. In a subnet's pass, inside
    :func:`mmst.subnets.activate`, it gives the divergence from the remembered
    logits, for which labels are not needed: Mixup and CutMix go with it.
    Prediction is the wrapped head's, and so are the checkpoint keys: a
    checkpoint loads into the plain head and the other way.

    Args:
        head: The head to wrap, a config or a module.
        loss_kl: Config of the loss between subnet and main logits.
        normalize_main: Whether the main logits too are normalised, as
            ``loss_kl`` normalises them, before the wrapped head's own loss.
            The authors' released code does; the paper does not.
        init_cfg: Initialisation config of this module; the wrapped head has
            its own.

    Raises:
        TypeError: If the head is not for one label an image.
        ValueError: If logits of two classes would be standardised.
    """

    def __init__(
        self,
        head: Union[Config, nn.Module],
        loss_kl: Config = dict(type='mmst.KLMinusLoss'),
        normalize_main: bool = False,
        init_cfg: Optional[Config] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.head = (
            head
            if isinstance(head, nn.Module)
            else MMPRETRAIN_MODELS.build(head)
        )
        if isinstance(self.head, (MultiLabelClsHead, MultiTaskHead)):
            raise TypeError(
                f'STClsHead cannot wrap {type(self.head).__name__}: the '
                'divergence is between softmax outputs, which are for one '
                'label an image'
            )
        self.loss_kl = MODELS.build(loss_kl)
        if (
            getattr(self.head, 'num_classes', None) == 2
            and getattr(self.loss_kl, 'normalize', None) == 'standardize'
        ):
            raise ValueError(
                'of 2 classes, standardised logits are +1 and -1 whatever '
                'they were, and nothing is learned: set '
                "model.head.loss_kl.normalize to 'l2' or None"
            )
        self.normalize_main = normalize_main
        self._main_logits: Optional[List[Tensor]] = None
        self._register_state_dict_hook(_drop_prefix)
        self._register_load_state_dict_pre_hook(self._add_prefix)

    def loss(
        self,
        feats: Tuple[Tensor, ...],
        data_samples: List[DataSample],
        **kwargs: Any,
    ) -> Dict[str, Tensor]:
        """Losses of the main network, or of the subnet that is active.

        Args:
            feats: Features of the backbone or neck, as the wrapped head takes
                them.
            data_samples: The N samples of the batch.
            **kwargs: Passed to the wrapped head's ``loss``.

        Raises:
            RuntimeError: If a subnet comes before the main pass.
        """
        if active_subnet() is None:
            return self._main_loss(feats, data_samples, **kwargs)
        if self._main_logits is None:
            raise RuntimeError(
                'a subnet has no main logits to learn from: run the main '
                'network on the batch first, as the ST train loops do'
            )
        logits = _as_list(self.head(feats))
        return dict(
            loss_kl=sum(
                self.loss_kl(subnet, main)
                for subnet, main in zip(logits, self._main_logits)
            )
        )

    def _main_loss(
        self,
        feats: Tuple[Tensor, ...],
        data_samples: List[DataSample],
        **kwargs: Any,
    ) -> Dict[str, Tensor]:
        # The wrapped head computes its logits inside its own `loss`; a hook
        # reads them there and, if asked to, normalises what the loss sees.
        heard: List[Tensor] = []
        besides_feats: List[Any] = []

        def listen(
            module: nn.Module,
            args: Tuple[Any, ...],
            kwargs: Dict[str, Any],
            output: Any,
        ) -> Any:
            heard[:] = _as_list(output)
            besides_feats[:] = [*args[1:], *kwargs.values()]
            if not self.normalize_main:
                return None
            normal = [self.loss_kl.normalize_logits(z) for z in heard]
            return normal[0] if isinstance(output, Tensor) else tuple(normal)

        handle = self.head.register_forward_hook(listen, with_kwargs=True)
        try:
            losses = self.head.loss(feats, data_samples, **kwargs)
        finally:
            handle.remove()
        if not heard:
            raise TypeError(
                f'STClsHead cannot wrap {type(self.head).__name__}: its '
                '`loss` does not call the head to get the logits'
            )
        if besides_feats:
            # ArcFace gives its labels a margin, which no subnet shall copy.
            with torch.no_grad():
                heard = _as_list(self.head(feats))
        self._main_logits = [logits.detach() for logits in heard]
        return losses

    def forget(self) -> None:
        """Drop the remembered main logits at the end of an iteration."""
        self._main_logits = None

    def forward(self, feats: Tuple[Tensor, ...]) -> Any:
        """The wrapped head's logits."""
        return self.head(feats)

    def predict(self, *args: Any, **kwargs: Any) -> List[DataSample]:
        """The wrapped head's prediction."""
        return self.head.predict(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Let others read the wrapped head: ``pre_logits``, ``fc`` ..."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == 'head':  # not built yet
                raise
            return getattr(self.head, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Let others change the wrapped head: hooks swap ``loss_module``."""
        head = self.__dict__.get('_modules', {}).get('head')
        is_own = (
            head is None
            or name in self.__dict__
            or name in self._modules
            or hasattr(type(self), name)
        )
        if not is_own and hasattr(head, name):
            setattr(head, name, value)
        else:
            super().__setattr__(name, value)

    def _add_prefix(
        self, state_dict: Dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        """Before loading, turn the plain head's keys into this module's."""
        inner = f'{prefix}head.'
        # All out before any goes in: a head may have a part named `head`.
        state_dict.update(
            {
                inner + key[len(prefix) :]: state_dict.pop(key)
                for key in list(state_dict)
                if key.startswith(prefix)
            }
        )


def check_teaching_head(model: nn.Module) -> None:
    """Refuse a classifier whose subnets would have nothing to learn from.

    Args:
        model: The model. Others than classifiers train subnets on the ground
            truth.

    Raises:
        ValueError: If it is a classifier and its head is not an ``STClsHead``.
    """
    head = getattr(model, 'head', None)
    if isinstance(model, BaseClassifier) and not isinstance(head, STClsHead):
        raise ValueError(
            'subnets of a classifier learn from the main network through '
            f'STClsHead, but model.head is {type(head).__name__}: '
            "set model.head to dict(type='mmst.STClsHead', "
            'head=dict(...the head you have...))'
        )


def _drop_prefix(
    module: nn.Module,
    state_dict: Dict[str, Tensor],
    prefix: str,
    local_metadata: Dict[str, Any],
) -> None:
    """After collecting the state, name it as the plain head would."""
    inner = f'{prefix}head.'
    for key in list(state_dict):
        if key.startswith(inner):
            state_dict[prefix + key[len(inner) :]] = state_dict.pop(key)


def _as_list(logits: Any) -> List[Tensor]:
    """The logits of a head with one classifier, or with several."""
    logits = [logits] if isinstance(logits, Tensor) else list(logits)
    if not all(isinstance(item, Tensor) for item in logits):
        raise TypeError(
            'STClsHead needs a head whose output is a tensor of '
            'logits or several of them'
        )
    return logits
