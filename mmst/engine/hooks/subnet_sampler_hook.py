"""Decides which subnets an iteration trains."""

from contextlib import contextmanager
from random import Random
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmpretrain.models import BaseClassifier
from torch import nn

from mmst.models.heads import STClsHead
from mmst.registry import HOOKS
from mmst.subnets import (
    InputSizes,
    SamplingSpace,
    Subnet,
    SubnetInputs,
    find_stages,
    unwrapped,
)

from ..space_report import blank_image, check_sizes, space_report
from ..subnet_scalars import add_subnet_scalars


@HOOKS.register_module()
class SubnetSamplerHook(Hook):
    """Draw K subnets before every iteration: depths and input size.

    The draw is a function of the seed and the iteration alone: the same on
    every rank without communication, and after a resume what it would have
    been without the stop. What was drawn is reported now and then, in the log
    and to every backend of the visualizer (LocalVisBackend: ``subnets.json``).

    Args:
        num_subnets: K, subnets an iteration; 0 is plain training.
        space: Number of candidate depths of each stage, counted down from the
            full depth, such as ``[1, 2, 4, 1]`` (Table 2).
        min_depth: Instead of ``space``: blocks to keep at least, in every
            stage or for each. Neither means at least one.
        strategy: 'ordered', 'stochastic' or 'raw' (Fig. 3).
        size_range: (L_min, L_max) of the subnets' shorter input side: whole
            pixels, or fractions of the main input's in (0, 1].
        sizes: Instead of ``size_range``: a list of sizes to choose from.
            Neither means the main input as it is.
        begin: First epoch or iteration, from 0, that trains subnets.
        by_epoch: Whether ``begin`` counts epochs.
        interval: Iterations between two reports of the drawn subnets.
            Default: the interval of the LoggerHook.

    Raises:
        ValueError: If an option has a value that it cannot have.
    """

    def __init__(
        self,
        num_subnets: int = 1,
        space: Optional[Sequence[int]] = None,
        min_depth: Optional[Union[int, Sequence[int]]] = None,
        strategy: str = 'ordered',
        size_range: Optional[Sequence[Union[int, float]]] = None,
        sizes: Optional[Sequence[Union[int, float]]] = None,
        begin: int = 0,
        by_epoch: bool = True,
        interval: Optional[int] = None,
    ) -> None:
        for name, value, least in (
            ('num_subnets', num_subnets, 0),
            ('begin', begin, 0),
            ('interval', interval, 1),
        ):
            if value is not None and (
                not isinstance(value, int) or value < least
            ):
                raise ValueError(
                    f'SubnetSamplerHook: {name} {value!r} is not a whole '
                    f'number from {least} on'
                )
        self.num_subnets = num_subnets
        self.space_cfg: Dict[str, Any] = dict(
            candidates=space, min_depth=min_depth, strategy=strategy
        )
        with _naming_the_hook():
            self.sizes = InputSizes(size_range, sizes)
        self.begin = begin
        self.by_epoch = by_epoch
        self.interval = interval
        self._reported = False

    def before_train(self, runner: Runner) -> None:
        """Fit the space to the model; refuse what cannot be trained."""
        self._check_loop(runner.train_loop)
        if self.num_subnets == 0:
            return
        model = unwrapped(runner.model)
        head = getattr(model, 'head', None)
        if isinstance(model, BaseClassifier) and not isinstance(
            head, STClsHead
        ):
            raise ValueError(
                'subnets of a classifier learn from the main network through '
                f'STClsHead, but model.head is {type(head).__name__}: '
                "set model.head to dict(type='mmst.STClsHead', "
                'head=dict(...the head you have...))'
            )
        # Ranks have seeds of their own under `diff_rank_seed`.
        seed = [runner.seed]
        broadcast_object_list(seed)
        self.fit(model, seed[0])
        if self.interval is None:
            self.interval = next(
                (
                    h.interval
                    for h in runner.hooks
                    if isinstance(h, LoggerHook)
                ),
                10,
            )

    def _check_loop(self, loop: BaseLoop) -> None:
        # By what the ST loops have: they import this module.
        inputs = getattr(loop, 'subnet_inputs', None)
        if not isinstance(inputs, SubnetInputs):
            raise ValueError(
                'SubnetSamplerHook needs a train loop that trains subnets, '
                f'but train_cfg gives {type(loop).__name__}: set its type to '
                "'mmst.STEpochBasedTrainLoop' or 'mmst.STIterBasedTrainLoop'"
            )
        if self.num_subnets == 0:
            return
        if (
            self.by_epoch
            and self.begin > 0
            and not isinstance(loop, EpochBasedTrainLoop)
        ):
            raise ValueError(
                f'SubnetSamplerHook: begin={self.begin} counts epochs, which '
                f'{type(loop).__name__} has not: set by_epoch=False'
            )
        if inputs.chained and any(
            isinstance(n, float) for n in self.sizes.values
        ):
            raise ValueError(
                f'SubnetSamplerHook: sizes {self.sizes} are fractions, which '
                'chain_inputs=True in train_cfg would multiply from subnet to '
                'subnet: give pixels'
            )

    def fit(self, model: nn.Module, seed: int) -> None:
        """Set up the space of a model's stages, to draw from it.

        Args:
            model: A model or a backbone.
            seed: The seed that all draws come from.

        Raises:
            TypeError: If the model's stages cannot be found.
            ValueError: If the space does not fit them.
        """
        self.stages = find_stages(model)
        if self.space_cfg['strategy'] == 'raw':
            self._check_branches()
        with _naming_the_hook():
            self.space = SamplingSpace(
                [len(stage) for stage in self.stages],
                has_shortcut=[
                    [block.shortcut is not None for block in stage.blocks]
                    for stage in self.stages
                ],
                **self.space_cfg,
            )
        self.seed = seed

    def _check_branches(self) -> None:
        """Refuse raw sampling of blocks without a branch of their own."""
        for stage in self.stages:
            for block in stage.blocks:
                if block.shortcut is not None and block.branch_only is None:
                    raise ValueError(
                        "SubnetSamplerHook: strategy 'raw' is not known for "
                        f'{type(block.module).__name__} in {stage.name}: set '
                        "strategy to 'ordered' or 'stochastic'"
                    )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Hand the iteration's subnets to the loop."""
        if self.num_subnets == 0:
            return
        if not self._reported:
            self._report_space(runner, data_batch)
            self._reported = True
        now = runner.epoch if self.by_epoch else runner.iter
        runner.train_loop.subnets = (
            self.draw(runner.iter) if now >= self.begin else []
        )

    def draw(self, iteration: int) -> List[Subnet]:
        """The subnets of an iteration, counted from 0."""
        rng = Random(f'{self.seed}:{iteration}')
        return [
            self.space.sample(rng, self.sizes.sample(rng))
            for _ in range(self.num_subnets)
        ]

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Report the drawn subnets next to the LoggerHook's line."""
        subnets = getattr(runner.train_loop, 'subnets', ())
        if not subnets or not self.every_n_train_iters(runner, self.interval):
            return
        runner.logger.info(
            f'Subnets of iteration {runner.iter + 1}: '
            + '; '.join(map(str, subnets))
        )
        scalars = {}
        for k, subnet in enumerate(subnets):
            if subnet.size is not None:
                scalars[f'subnet{k}_size'] = subnet.size
            for stage, depth in zip(self.stages, subnet.depths):
                scalars[f'subnet{k}_depth_{stage.name}'] = depth
        add_subnet_scalars(runner.visualizer, scalars, runner.iter + 1)

    def _report_space(self, runner: Runner, data_batch: Any) -> None:
        """Refuse too small sizes; tell what will be drawn, at what cost."""
        image = blank_image(data_batch)
        if image is None:
            return
        image = image.to(next(runner.model.parameters()).device)
        check_sizes(runner.model, image, self.sizes)
        if is_main_process():
            runner.logger.info(
                space_report(
                    runner.model,
                    image,
                    self.space,
                    self.sizes,
                    self.num_subnets,
                )
            )


@contextmanager
def _naming_the_hook() -> Iterator[None]:
    """Say in an error where the option that it names is set."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f'SubnetSamplerHook in custom_hooks: {error}'
        ) from error
