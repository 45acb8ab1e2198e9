# Copyright (c) mmst contributors. Licensed under the Apache License 2.0.
"""Time and peak memory of an ST iteration against plain training's.

Compares the measured ratio with the one that the FLOPs of the drawn subnets
predict. Each case runs in a process of its own, on made-up images. Run it on
an otherwise idle machine.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Dict, List

import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import mmst  # noqa: F401  registers its modules
from mmst.engine.step import st_step
from mmst.subnets import measure_cost, resize_inputs

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
        help='an ST classification config',
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--size', type=int, default=200, help='px, square')
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
    parser.add_argument('--case', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in MiB: allocated on a GPU, resident on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_case(args: argparse.Namespace) -> Dict[str, float]:
    """Train for some iterations with K subnets; K = 0 is plain training."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.default_scope)
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    layout = (
        torch.channels_last if args.channels_last else torch.contiguous_format
    )
    model = MODELS.build(cfg.model).to(device, memory_format=layout)
    optim_wrapper = Runner.build_optim_wrapper(
        argparse.Namespace(model=model), cfg.optim_wrapper
    )
    num_classes = model.head.num_classes
    data = dict(
        inputs=torch.rand(args.batch_size, 3, args.size, args.size)
        .mul(255)
        .to(device, memory_format=layout),
        data_samples=[
            DataSample().set_gt_label(i % num_classes).to(device)
            for i in range(args.batch_size)
        ],
    )
    sampler = next(
        HOOKS.build(
            dict(
                hook,
                num_subnets=args.case,
                **(dict(size_range=None) if args.same_size else {}),
            )
        )
        for hook in cfg.custom_hooks
        if hook['type'] == 'mmst.SubnetSamplerHook'
    )
    sampler.fit(model, seed=0)
    model.train()
    seconds, ratios = [], []
    for iteration in range(args.iterations + 1):
        subnets = sampler.draw(iteration)
        start = time.perf_counter()
        if subnets:
            st_step(model, data, optim_wrapper, subnets)
        else:
            model.train_step(data, optim_wrapper)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        ratios.append(predicted_ratio(model, data['inputs'], subnets))
    # The first iteration warms up.
    return dict(
        seconds=sum(seconds[1:]) / args.iterations,
        predicted=sum(ratios[1:]) / args.iterations,
        memory=peak_memory(device),
    )


def predicted_ratio(
    model: torch.nn.Module, inputs: torch.Tensor, subnets: List
) -> float:
    """Cost of these subnets' iteration by FLOPs; plain training is 1."""
    image = inputs[:1]
    main = measure_cost(model, image).total
    return (
        1
        + sum(
            measure_cost(model, resize_inputs(image, subnet.size)).of(subnet)
            for subnet in subnets
        )
        / main
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
