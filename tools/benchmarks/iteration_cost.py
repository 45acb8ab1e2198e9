"""Time and peak memory of an iteration with subnets against plain training.

Trains on random images and runs each case in its own process: plain training
(CT), stimulative training with passes apart and with shared prefixes, all
passes in one graph, and the procedure of the released code. The table shows
the measured ratio beside the one that the FLOPs of the drawn subnets predict
(backbone and neck). Run it on an otherwise idle machine.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from typing import Any, Callable, Dict, List

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn

from mmst.engine import st_step
from mmst.engine.batch import PassBatches
from mmst.launch.configured_training import (
    get_class_name,
    make_training_image,
    read_sampler,
)
from mmst.launch.toolbox import enter_scope, find_toolbox, read_config
from mmst.subnets import (
    PassRunner,
    SubnetInputs,
    SubnetSampler,
    activate,
    compile_blocks,
    measure_cost,
)
from mmst.subnets.cost import iter_tensors
from mmst.subnets.iteration_cost import count_pass_flops

MIB = 2**20
CONFIGS = [
    'configs/st/resnet50_st-shared_in1k.py',
    'configs/st/vit-small_st-k6_in1k.py',
]
CASES = {
    'plain': 'CT',
    'apart': 'ST, apart',
    'shared': 'ST, shared',
    'graph': 'ST, one graph',
    'released': 'ST, as released',
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--configs',
        nargs='+',
        default=CONFIGS,
        metavar='CONFIG',
        help='ST configs of mmpretrain or mmdet; default: %(default)s',
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="in px; default: the size of the config's training images",
    )
    parser.add_argument(
        '--cases',
        nargs='+',
        choices=list(CASES)[1:],
        default=list(CASES)[1:],
        help='cases to compare with plain training; default: all',
    )
    parser.add_argument(
        '--num-subnets',
        type=int,
        help="subnets per iteration; default: the config's",
    )
    parser.add_argument(
        '--same-size',
        action='store_true',
        help="train subnets at the main input's size",
    )
    parser.add_argument('--iterations', type=int, default=8)
    parser.add_argument(
        '--rounds',
        type=int,
        default=2,
        help='runs of each case; the fastest counts',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision, on a GPU'
    )
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument(
        '--compile', action='store_true', help='compile the blocks'
    )
    parser.add_argument(
        '--no-heads',
        action='store_true',
        help='train backbone and neck alone, with a loss on their outputs',
    )
    parser.add_argument('--case', choices=list(CASES), help=argparse.SUPPRESS)
    return parser.parse_args()


def read_peak_memory(device: torch.device) -> float:
    """Read the peak memory in MiB: allocated on a GPU, resident on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_batch(cfg: Config, batch_size: int, size: List[int]) -> dict:
    """Make random images, each with a class or with 8 boxes and masks."""
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


def compute_feature_loss(
    model: nn.Module, inputs: torch.Tensor
) -> torch.Tensor:
    """Compute a loss that needs only backbone and neck."""
    features = list(iter_tensors(model.extract_feat(inputs)))
    # Bounded from below, so training cannot diverge.
    return sum(feature.square().mean() for feature in features)


def build(args: argparse.Namespace, device: torch.device) -> tuple:
    """Build model, optimizer wrapper, batch and sampler of a config."""
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
            loss=compute_feature_loss(model, inputs)
        )
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    optim_wrapper = Runner.build_optim_wrapper(
        argparse.Namespace(model=model), cfg.optim_wrapper
    )
    size = args.size or list(make_training_image(cfg).shape[-2:])
    data = make_batch(cfg, args.batch_size, size)
    if isinstance(data['inputs'], torch.Tensor):
        data['inputs'] = data['inputs'].to(device, memory_format=layout)
    for hook in cfg.custom_hooks:
        if get_class_name(hook) == 'SubnetSamplerHook':
            if args.num_subnets is not None:
                hook['num_subnets'] = args.num_subnets
            if args.same_size:
                hook.pop('size_range', None)
                hook.pop('sizes', None)
    return model.train(), optim_wrapper, data, read_sampler(cfg, model)


def step_in_one_graph(
    model: nn.Module, data: dict, optim_wrapper: Any, subnets: list
) -> None:
    """Run all passes, then one backward pass over all of them."""
    with optim_wrapper.optim_context(model):
        data = model.data_preprocessor(data, True)
        batches = PassBatches(data, SubnetInputs(), model)
        losses = [model._run_forward(data, mode='loss')]
        for subnet in subnets:
            with activate(model, subnet):
                batch = batches.make(subnet)
                losses.append(model._run_forward(batch, mode='loss'))
        loss = sum(model.parse_losses(loss)[0] for loss in losses)
    optim_wrapper.update_params(loss)


def choose_step(
    args: argparse.Namespace, model: nn.Module
) -> Callable[..., Any]:
    """Return what runs an iteration: (model, data, optim_wrapper, subnets)."""
    if args.case == 'plain':
        return lambda model, data, wrapper, subnets: model.train_step(
            data, wrapper
        )
    if args.case == 'graph':
        return step_in_one_graph
    if args.case == 'released':
        return partial(
            st_step,
            pass_runner=PassRunner(model, update_running_stats=True),
            subnet_inputs=SubnetInputs(['normalize']),
        )
    runner = PassRunner(model, share=args.case == 'shared')
    return partial(st_step, pass_runner=runner)


def predict_ratio(
    args: argparse.Namespace,
    model: nn.Module,
    data: dict,
    sampler: SubnetSampler,
    subnets: list,
) -> float:
    """Predict, from FLOPs, the cost of an iteration over a plain one."""
    batches = PassBatches(data, SubnetInputs(), model)
    passes = [None, *subnets]
    inputs = batches.list_keys(passes)
    costs = {}
    for subnet, key in zip(passes, inputs):
        if key not in costs:
            images = batches.make(subnet)['inputs'][:1]
            costs[key] = measure_cost(model, images)
    is_shared = args.case == 'shared'
    flops = count_pass_flops(
        sampler.stages,
        passes,
        inputs if is_shared else range(len(passes)),
        [costs[key] for key in inputs],
    )
    return flops / costs[inputs[0]].total


def run_case(args: argparse.Namespace) -> Dict[str, float]:
    """Train for some iterations, after one to warm up."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    model, optim_wrapper, data, sampler = build(args, device)
    if args.compile:
        compile_blocks(model)
    step = choose_step(args, model)
    seconds, ratios = [], []
    for iteration in range(args.iterations + 1):
        subnets = sampler.draw(iteration)
        start = time.perf_counter()
        step(model, data, optim_wrapper, subnets=subnets)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    result = dict(
        seconds=sum(seconds[1:]) / args.iterations,
        memory=read_peak_memory(device),
    )
    # Counted last, since counting takes memory too.
    if args.case != 'plain':
        source = model.data_preprocessor(data, True)
        ratios = [
            predict_ratio(args, model, source, sampler, sampler.draw(i))
            for i in range(1, args.iterations + 1)
        ]
    result['predicted'] = sum(ratios) / len(ratios) if ratios else 1.0
    return result


def run_apart(args: argparse.Namespace, config: str, case: str) -> dict:
    """Run a case in its own process."""
    output = subprocess.run(
        [sys.executable, *sys.argv, '--configs', config, '--case', case],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def format_table(results: Dict[str, Dict[str, float]]) -> str:
    """Format the results of one config."""
    plain = results['plain']
    lines = [
        f'{"":<17}{"s/iter":>9}{"ratio":>8}{"by FLOPs":>10}'
        f'{"measured/predicted":>20}{"peak MiB":>10}{"of CT":>7}'
    ]
    for case, result in results.items():
        ratio = result['seconds'] / plain['seconds']
        lines.append(
            f'{CASES[case]:<17}{result["seconds"]:>9.3f}{ratio:>8.2f}'
            f'{result["predicted"]:>10.2f}'
            f'{ratio / result["predicted"]:>20.3f}'
            f'{result["memory"]:>10.0f}'
            f'{result["memory"] / plain["memory"]:>7.2f}'
        )
    return '\n'.join(lines)


def main() -> None:
    """Run every case in its own process and print the tables."""
    args = parse_args()
    if args.case is not None:
        (args.config,) = args.configs
        print(json.dumps(run_case(args)))
        return
    for config in args.configs:
        best: Dict[str, Dict[str, float]] = {}
        for round_ in range(args.rounds):
            for case in ('plain', *args.cases):
                print(
                    f'{config}, round {round_ + 1} of {args.rounds}: '
                    f'{CASES[case]}',
                    file=sys.stderr,
                    flush=True,
                )
                result = run_apart(args, config, case)
                if (
                    case not in best
                    or result['seconds'] < best[case]['seconds']
                ):
                    best[case] = result
        print(f'\n{config}\n{format_table(best)}', flush=True)


if __name__ == '__main__':
    main()
