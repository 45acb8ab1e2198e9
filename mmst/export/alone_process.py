"""Run an exported model by itself; a script for a separate Python.

It does not need mmst. Its arguments are FOLDER, NAME, a file with inputs, one
for outputs, and modules that cannot be imported.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, List, Sequence


def run(folder: str, name: str, inputs: str, outputs: str) -> None:
    """Write the outputs of the folder's model for the inputs."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope

    cfg = Config.fromfile(str(Path(folder, f'{name}.py')))
    scope = cfg.get('default_scope')
    if scope:
        import_module(f'{scope}.models')
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model)
    weights = torch.load(cfg.load_from, map_location='cpu', weights_only=True)
    model.load_state_dict(weights['state_dict'])
    model.eval()  # some return nothing
    given = torch.load(inputs, weights_only=False)
    model.to(given['device'])
    with torch.no_grad():
        result = model._run_forward(given['data'], mode='tensor')
    torch.save(list_tensors(result), outputs)


def list_tensors(value: Any) -> List[Any]:
    """List all tensors in lists and dicts, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for entry in value for tensor in list_tensors(entry)]
    return [value] if hasattr(value, 'shape') else []


def main(args: Sequence[str]) -> None:
    """Block the modules, and run the model."""
    *paths, blocked = args
    for module in filter(None, blocked.split(',')):
        sys.modules[module] = None  # type: ignore[assignment]
    run(*paths)


if __name__ == '__main__':
    main(sys.argv[1:])
