"""Exports a PyTorch network to ONNX: a program of its own, run by any Python that has PyTorch.

It imports nothing of this package, reads its task as JSON from its first argument, and says what
went wrong as JSON on the last line of its output.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

_OPSET = 17  # the last of PyTorch's older exporter that needs no further package


def main() -> None:
    """Does what the task asks; what went wrong is printed, and the exit code is 3."""
    task = json.loads(sys.argv[1])
    sys.path[0] = os.getcwd()  # not the folder of this file, whose modules are no program's
    said = export(task)
    print(json.dumps(said))
    sys.exit(3 if said else 0)


def export(task: dict[str, Any]) -> dict[str, str]:
    """Exports a network; what went wrong, by what it was done to, or nothing.

    Args:
        task: `module` and `function`, `checkpoint` (a path or None), `shape` (of one image, with
            channels first), `seed`, `out` (a path).
    """
    try:
        import torch
    except ImportError as error:
        return {"what": "torch", "why": _first_line(error)}
    torch.manual_seed(task["seed"])
    try:
        make = getattr(importlib.import_module(task["module"]), task["function"], None)
        if not callable(make):
            return {"what": "function", "why": ""}
        network = make()
    except Exception as error:
        return {"what": "module", "why": f"{type(error).__name__}: {_first_line(error)}"}
    if not isinstance(network, torch.nn.Module):
        return {"what": "network", "why": type(network).__name__}
    network = network.cpu().float().eval()
    if task["checkpoint"] is not None:
        try:
            state = state_of(task["checkpoint"])
        except Exception as error:
            print(error, file=sys.stderr)
            return {"what": "no state dict", "why": ""}
        if misfit := misfits(network.state_dict(), state):
            return {"what": "checkpoint", "why": misfit}
        network.load_state_dict(state)
    try:
        write(network, task["shape"], task["out"])
    except Exception as error:
        return {"what": "export", "why": f"{type(error).__name__}: {_first_line(error)}"}
    return {}


def state_of(path: str) -> dict[str, Any]:
    """The state dict in a file, read as weights only, so that nothing in it runs.

    Training programs keep it beside other things, and prefix its names.
    """
    import torch

    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        state: Any = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise ValueError("it holds no state dict, tensors by name")
    found: dict[str, Any] = state
    for prefix in ("module.", "model.", "_orig_mod."):
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def write(network: Any, shape: list[int], out: str) -> None:
    """The ONNX file, batch norms and all parameters as they are."""
    import torch

    images = torch.rand(2, *shape)
    with torch.no_grad():
        given = network(images)
    names: list[str] | None = ["output"] if torch.is_tensor(given) else None
    if isinstance(given, dict):
        names = [*given]
        network.forward = _as_tuple(network.forward)
    open_batch = {name: {0: "n"} for name in ("images", *(names or ()))}
    torch.onnx.export(
        network,
        (images,),
        out,
        dynamo=False,
        input_names=["images"],
        output_names=names,
        dynamic_axes=open_batch,
        opset_version=_OPSET,
        training=torch.onnx.TrainingMode.PRESERVE,  # the other modes fold batch norms
        do_constant_folding=False,
        keep_initializers_as_inputs=True,  # or equal parameters become one
    )


def _as_tuple(forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A network's function whose dict of outputs is a tuple."""
    return lambda images: tuple(forward(images).values())


def misfits(own: dict[str, Any], given: dict[str, Any]) -> str:
    """What keeps a state dict from fitting a network's own, in a few words; nothing if it fits."""
    lacks, more = [*own.keys() - given.keys()], [*given.keys() - own.keys()]
    shaped = [k for k in own.keys() & given.keys() if own[k].shape != given[k].shape]
    for said, names in (("lacks", lacks), ("has besides", more), ("has other shapes of", shaped)):
        if names:
            rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"it {said} {', '.join(sorted(names)[:3])}{rest}"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


if __name__ == "__main__":
    main()
