"""What mmst promises, and the test files that hold it to that.

``pytest -m contract`` runs these files. CI does so on the stack that it does
not run the whole suite on.
"""

CONTRACTS = {
    'without subnets a run is the plain one, bit for bit': (
        'engine/test_loops.py',
    ),
    'the gradient is that of the summed loss': (
        'engine/test_step.py',
        'engine/test_dense_tasks.py',
    ),
    'one optimizer step an iteration; accumulation, AMP, clipping once': (
        'engine/test_step.py',
    ),
    'the main network gets no gradient through its logits as a target': (
        'models/test_kl_minus_loss.py',
        'models/test_st_cls_head.py',
    ),
    'ranks end bit-equal, and as one process on the joined batch': (
        'engine/test_distributed.py',
    ),
    'checkpoint keys are those of the plain model': (
        'models/test_wrapped_head.py',
    ),
    'stop and resume equals the uninterrupted run': ('engine/test_loops.py',),
    'after any exit the model is the full network again': (
        'engine/test_step.py',
        'subnets/test_activate.py',
    ),
    'a subnet in place equals the same subnet exported': (
        'subnets/test_export.py',
        'export/test_standalone.py',
        'export/test_formats.py',
    ),
    'bad input is refused before training starts': (
        'engine/test_checks.py',
        'engine/test_loops.py',
        'subnets/test_sampling.py',
        'export/test_refusals.py',
        'test_options.py',
    ),
    'what differs between the stacks makes no difference': (
        'test_installation.py',
        'launch/test_toolbox.py',
        'tools/test_safe_load.py',
    ),
    'the core works where no package of OpenMMLab is installed': (
        'test_torch_alone.py',
    ),
}
