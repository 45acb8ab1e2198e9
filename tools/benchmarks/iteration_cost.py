"""Time and peak memory of an ST iteration against plain training's.

Compares the measured ratio with the one that the FLOPs of the drawn subnets
predict, those of backbone and neck, forward and backward. Each case runs in a
process of its own, on made-up images. Run it on an otherwise idle machine.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Dict, List, Optional

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn

from mmst.engine.step import st_step
from mmst.engine.subnet_batch import make_subnet_batch
from mmst.launch.configured_training import get_class_name, read_sampler
from mmst.launch.toolbox import enter_scope, find_toolbox, read_config
from mmst.subnets import Subnet, SubnetInputs, activate, count_flops
from mmst.subnets.cost import iter_tensors

MIB = 2**20


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--config',
        default='configs/st/resnet50_st_in1k.py',
        help='an ST config of mmpretrain or mmdet',
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=[200, 200],
        metavar=('HEIGHT', 'WIDTH'),
        help='px',
    )
    parser.add_argument('--num-subnets', type=int, nargs='+', default=[1, 6])
    parser.add_argument('--iterations', type=int, default=8)
    parser.add_argument(
        '--rounds',
        type=int,
        default=2,
        help='times that every case is run; the fastest counts',
    )
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument(
        '--same-size',
        action='store_true',
        help="subnets on the main input's size, to compare memory over K",
    )
    parser.add_argument(
        '--no-heads',
        action='store_true',
        help='backbone and neck alone; the loss is of their outputs',
    )
    parser.add_argument('--case', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in MiB: allocated on a GPU, resident on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made_up_batch(cfg: Config, batch_size: int, size: List[int]) -> dict:
    """Noise with a class, or with eight boxes and masks, an image."""
    if find_toolbox(cfg) == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        return demo_mm_inputs(
            batch_size,
            (3, *size),
            num_items=[8] * batch_size,
            num_classes=80,
            with_mask=True,
        )
    return dict(
        inputs=torch.randint(256, (batch_size, 3, *size), dtype=torch.uint8),
        data_samples=[
            DataSample().set_gt_label(i % 10) for i in range(batch_size)
        ],
    )


def loss_of_features(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """A loss that needs backbone and neck alone."""
    features = list(iter_tensors(model.extract_feat(inputs)))
    # Bounded from below: training cannot run off to infinity.
    return sum(feature.square().mean() for feature in features)


def count_pass_flops(
    model: nn.Module, image: torch.Tensor, subnet: Optional[Subnet] = None
) -> int:
    """Multiply-adds of a pass, forward and backward, to the neck's end."""
    chosen = nullcontext() if subnet is None else activate(model, subnet)
    with chosen, count_flops() as flops:
        loss_of_features(model, image).backward()
    model.zero_grad()
    return flops()


def run_case(args: argparse.Namespace) -> Dict[str, float]:
    """Train for some iterations with K subnets; K = 0 is plain training."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    cfg = read_config(args.config)
    enter_scope(cfg)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model.backbone.init_cfg = None
    layout = (
        torch.channels_last if args.channels_last else torch.contiguous_format
    )
    model = MODELS.build(cfg.model).to(device, memory_format=layout)
    if args.no_heads:
        model.forward = lambda inputs, **_: dict(
            loss=loss_of_features(model, inputs)
        )
    optim_wrapper = Runner.build_optim_wrapper(
        argparse.Namespace(model=model), cfg.optim_wrapper
    )
    data = made_up_batch(cfg, args.batch_size, args.size)
    if isinstance(data['inputs'], torch.Tensor):
        data['inputs'] = data['inputs'].to(device, memory_format=layout)
    for hook in cfg.custom_hooks:
        if get_class_name(hook) == 'SubnetSamplerHook':
            hook['num_subnets'] = args.case
            if args.same_size:
                hook['size_range'] = None
    sampler = read_sampler(cfg, model)
    model.train()
    source = model.data_preprocessor(data, True)
    main_flops = count_pass_flops(model, source['inputs'][:1])
    seconds, ratios = [], []
    for iteration in range(args.iterations + 1):
        subnets = sampler.draw(iteration) if sampler else []
        start = time.perf_counter()
        if subnets:
            st_step(model, data, optim_wrapper, subnets)
        else:
            model.train_step(data, optim_wrapper)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        flops = sum(
            count_pass_flops(
                model,
                # At its size and padding.
                make_subnet_batch(source, subnet, SubnetInputs(), model)[
                    'inputs'
                ][:1],
                subnet,
            )
            for subnet in subnets
        )
        ratios.append(1 + flops / main_flops)
    # The first iteration warms up.
    return dict(
        seconds=sum(seconds[1:]) / args.iterations,
        predicted=sum(ratios[1:]) / args.iterations,
        memory=peak_memory(device),
    )


def main() -> None:
    """Run every case in a process of its own and print the table."""
    args = parse_args()
    if args.case is not None:
        print(json.dumps(run_case(args)))
        return
    cases = [0, *args.num_subnets]
    best: Dict[int, Dict[str, float]] = {}
    for round_ in range(args.rounds):
        for case in cases:
            print(
                f'round {round_ + 1} of {args.rounds}: K = {case}',
                file=sys.stderr,
                flush=True,
            )
            output = subprocess.run(
                [sys.executable, *sys.argv, '--case', str(case)],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            ).stdout
            result = json.loads(output.splitlines()[-1])
            if case not in best or result['seconds'] < best[case]['seconds']:
                best[case] = result
    plain = best[0]
    print(
        f'{"":<10}{"s/iter":>9}{"ratio":>8}{"by FLOPs":>10}'
        f'{"measured/predicted":>20}{"peak MiB":>10}{"of CT":>7}'
    )
    for case in cases:
        result = best[case]
        ratio = result['seconds'] / plain['seconds']
        print(
            f'{"CT" if case == 0 else f"ST K={case}":<10}'
            f'{result["seconds"]:>9.3f}{ratio:>8.2f}'
            f'{result["predicted"]:>10.2f}'
            f'{ratio / result["predicted"]:>20.3f}'
            f'{result["memory"]:>10.0f}'
            f'{result["memory"] / plain["memory"]:>7.2f}'
        )


if __name__ == '__main__':
    main()
