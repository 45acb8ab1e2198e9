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
from operator import itemgetter
from typing import Any, Callable, Dict, List

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmst.analysis.results import format_table
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
HEAD = ['', 's/iter', 'ratio', 'by FLOPs', 'measured/predicted']
HEAD += ['peak MiB', 'of CT']


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        '--configs',
        nargs='+',
        default=CONFIGS,
        metavar='CONFIG',
        help='ST configs of mmpretrain or mmdet; default: %(default)s',
    )
    add('--batch-size', type=int, default=16)
    add(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="in px; default: the size of the config's training images",
    )
    add(
        '--cases',
        nargs='+',
        choices=list(CASES)[1:],
        default=list(CASES)[1:],
        help='cases to compare with plain training; default: all',
    )
    add('--num-subnets', type=int, help="per iteration; default: the config's")
    add('--same-size', action='store_true', help='subnets at the main size')
    add('--iterations', type=int, default=8)
    add('--rounds', type=int, default=2, help='runs; the fastest counts')
    add('--amp', action='store_true', help='mixed precision, on a GPU')
    add('--channels-last', action='store_true')
    add('--compile', action='store_true', help='compile the blocks')
    add(
        '--no-heads',
        action='store_true',
        help='train backbone and neck alone, with a loss on their outputs',
    )
    add('--case', choices=list(CASES), help=argparse.SUPPRESS)
    return parser.parse_args()


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


def build(args: argparse.Namespace, device: torch.device) -> tuple:
    """Build model, optimizer wrapper, batch and sampler of a config."""
    cfg = read_config(args.config)
    enter_scope(cfg)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model.backbone.init_cfg = None
    layout = torch.contiguous_format
    if args.channels_last:
        layout = torch.channels_last
    model = MODELS.build(cfg.model).to(device, memory_format=layout)
    if args.no_heads:
        # Bounded from below, so training cannot diverge.
        model.forward = lambda inputs, **_: dict(
            loss=sum(
                feature.square().mean()
                for feature in iter_tensors(model.extract_feat(inputs))
            )
        )
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
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
        runner = PassRunner(model, update_running_stats=True)
        inputs = SubnetInputs(['normalize'])
        return partial(st_step, pass_runner=runner, subnet_inputs=inputs)
    runner = PassRunner(model, share=args.case == 'shared')
    return partial(st_step, pass_runner=runner)


def predict_ratio(
    case: str,
    model: nn.Module,
    data: dict,
    sampler: SubnetSampler,
    subnets: list,
) -> float:
    """Predict, from FLOPs, the cost of an iteration over a plain one."""
    batches = PassBatches(data, SubnetInputs(), model)
    passes = [None, *subnets]
    inputs = batches.list_keys(passes)
    costs = {
        key: measure_cost(model, batches.make(subnet)['inputs'][:1])
        for key, subnet in dict(zip(inputs, passes)).items()
    }
    flops = count_pass_flops(
        sampler.stages,
        passes,
        inputs if case == 'shared' else range(len(passes)),
        [costs[key] for key in inputs],
    )
    return flops / costs[inputs[0]].total


def run_case(args: argparse.Namespace) -> Dict[str, float]:
    """Train for some iterations, after one to warm up."""
    on_gpu = torch.cuda.is_available()
    device = torch.device('cuda' if on_gpu else 'cpu')
    model, optim_wrapper, data, sampler = build(args, device)
    if args.compile:
        compile_blocks(model)
    step = choose_step(args, model)
    drawn = [sampler.draw(i) for i in range(args.iterations + 1)]
    seconds = 0.0
    for iteration, subnets in enumerate(drawn):
        start = time.perf_counter()
        step(model, data, optim_wrapper, subnets=subnets)
        if on_gpu:
            torch.cuda.synchronize()
        if iteration > 0:
            seconds += time.perf_counter() - start
    # Allocated on a GPU, resident on a CPU.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if on_gpu:
        memory = torch.cuda.max_memory_allocated() / MIB
    predicted = 1.0
    # Counted last, since counting takes memory too.
    if args.case != 'plain':
        source = model.data_preprocessor(data, True)
        predicted = sum(
            predict_ratio(args.case, model, source, sampler, subnets)
            for subnets in drawn[1:]
        )
        predicted /= args.iterations
    return dict(
        seconds=seconds / args.iterations, memory=memory, predicted=predicted
    )


def format_results(results: Dict[str, Dict[str, float]]) -> str:
    """Format the results of one config."""
    plain, rows = results['plain'], []
    for case, result in results.items():
        ratio = result['seconds'] / plain['seconds']
        rows.append(
            [
                CASES[case],
                f'{result["seconds"]:.3f}',
                f'{ratio:.2f}',
                f'{result["predicted"]:.2f}',
                f'{ratio / result["predicted"]:.3f}',
                f'{result["memory"]:.0f}',
                f'{result["memory"] / plain["memory"]:.2f}',
            ]
        )
    return format_table(HEAD, rows)


def main() -> None:
    """Run every case in its own process and print the tables."""
    args = parse_args()
    if args.case is not None:
        (args.config,) = args.configs
        print(json.dumps(run_case(args)))
        return
    for config in args.configs:
        best: Dict[str, Dict[str, float]] = {}
        for round_ in range(1, args.rounds + 1):
            for case in ('plain', *args.cases):
                told = f'{config}, round {round_} of {args.rounds}'
                print(f'{told}: {CASES[case]}', file=sys.stderr, flush=True)
                apart = ['--configs', config, '--case', case]
                output = subprocess.run(
                    [sys.executable, *sys.argv, *apart],
                    stdout=subprocess.PIPE,
                    check=True,
                    text=True,
                ).stdout
                result = json.loads(output.splitlines()[-1])
                best[case] = min(
                    result, best.get(case, result), key=itemgetter('seconds')
                )
        print(f'\n{config}\n{format_results(best)}', flush=True)


if __name__ == '__main__':
    main()
