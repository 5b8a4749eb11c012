"""Exports a PyTorch network to ONNX: a program of its own, run by any Python that has PyTorch.

It imports nothing of this package, reads its task as JSON from its first argument, and says what
went wrong as JSON on the last line of its output.
"""

import copy
import importlib
import importlib.util
import json
import math
import os
import sys
from typing import Any

_OPSET = 17  # of PyTorch's older exporter, which needs no further package
_COMPARED = 10**6  # values of an output, at the most
GOLDEN = (5**0.5 - 1) / 2


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
            channels first), `seed`, `out` and `said` (paths: of the network, and of what it gives).
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
    network = unwrapped(network).cpu().eval()
    if task["checkpoint"] is not None:
        try:
            state = state_of(task["checkpoint"])
        except Exception as error:
            print(error, file=sys.stderr)
            return {"what": "no state dict", "why": ""}
        state = renamed(state, network.state_dict())
        if misfit := misfits(network.state_dict(), state):
            return {"what": "checkpoint", "why": misfit}
        network.load_state_dict(state)
    try:
        said = {"weights": weights_of(network), "outputs": {}}
        said["outputs"] = write(network, task["shape"], task["out"])
        with open(task["said"], "w", encoding="utf-8") as file:
            json.dump(said, file)
    except Exception as error:
        return {"what": "export", "why": f"{type(error).__name__}: {_first_line(error)}"}
    return {}


def state_of(path: str) -> dict[str, Any]:
    """The state dict in a file, read as weights only, so that nothing in it runs.

    Training programs keep it beside other things.
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
    return state


def unwrapped(network: Any) -> Any:
    """The network inside what trains it on several devices or compiles it."""
    import torch

    while True:
        if isinstance(network, torch.nn.DataParallel):
            network = network.module
        elif isinstance(getattr(network, "_orig_mod", None), torch.nn.Module):
            network = network._orig_mod
        else:
            return network


def renamed(state: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A state dict without the prefixes that training programs give its names.

    As far as it takes to fit a network's own, whose names may begin so, too; if it never fits,
    without any.
    """
    found = state
    for prefix in ("module.", "model.", "_orig_mod."):
        if misfits(own, found) and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def weights_of(network: Any) -> dict[str, list[str]]:
    """The names of its parameters and buffers: those `measured` may be, as running means are.

    They have one number a channel; the others are `tables`.
    """
    parameters = [name for name, _ in network.named_parameters(remove_duplicate=False)]
    buffers = [*network.named_buffers(remove_duplicate=False)]
    tables = [name for name, value in buffers if sum(length > 1 for length in value.shape) > 1]
    return {
        "parameters": parameters,
        "measured": [name for name, _ in buffers if name not in tables],
        "tables": tables,
    }


def write(network: Any, shape: list[int], out: str) -> dict[str, Any]:
    """Writes the ONNX file, batch norms and all parameters as they are.

    By PyTorch's older exporter; what that cannot export is tried by the newer one, where the
    package that it needs is installed.

    Returns:
        What the network gives for two images, by name: `shape` and `values`; outputs of integers
        and large ones are left out. The images' values are the fractional parts of the multiples of
        the golden ratio, row after row of each channel.
    """
    import torch

    count = 2 * math.prod(shape)
    multiples = torch.arange(count, dtype=torch.float64) * GOLDEN
    images = torch.frac(multiples).float().reshape(2, *shape)
    fresh = _copied(network)
    given = _given(network, fresh, images)
    outputs = named(given)
    said = {
        name: {"shape": [*values.shape], "values": values.double().flatten().tolist()}
        for name, values in outputs.items()
        if values.is_floating_point() and values.numel() <= _COMPARED
    }
    if not torch.is_tensor(given):
        forward = fresh.forward
        fresh.forward = lambda images: tuple(named(forward(images)).values())
    try:
        torch.onnx.export(
            fresh,
            (images,),
            out,
            dynamo=False,
            input_names=["images"],
            output_names=[*outputs],
            dynamic_axes={name: {0: "n"} for name in ("images", *outputs)},
            opset_version=_OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,  # the other modes fold batch norms
            do_constant_folding=False,
            keep_initializers_as_inputs=True,  # or equal parameters become one
        )
    except Exception as error:
        if not _has_onnxscript():
            hint = "PyTorch's newer exporter may do it: pip install onnxscript beside PyTorch"
            raise ValueError(f"{_first_line(error)}; {hint}") from error
        try:
            _write_anew(fresh, images, [*outputs], out)
        except Exception as later:
            print(later, file=sys.stderr)
            raise error from later
    return said


def _copied(network: Any) -> Any:
    """A network that was not called yet: calls may keep what they compute of parameters.

    As LeViT's do with its attention biases, which an export would then take for constants.
    """
    try:
        return copy.deepcopy(network)
    except Exception:  # of one's own code
        return network


def _given(network: Any, fresh: Any, images: Any) -> Any:
    """What a network gives; both are made of single precision where it takes no such images."""
    import torch

    with torch.no_grad():
        try:
            return network(images)
        except RuntimeError:
            fresh.float()
            return network.float()(images)


def named(given: Any, name: str = "output") -> dict[str, Any]:
    """The tensors that a network gives, by name: its own, or their places.

    Args:
        given: A tensor, or dicts, named tuples, lists and tuples of them.
        name: What a tensor is called.
    """
    fields = getattr(given, "_fields", None)
    if isinstance(given, dict) or fields:
        parts = dict(zip(fields, given, strict=True)) if fields else dict(given)
        inner = [named(part, str(key)) for key, part in parts.items()]
    elif isinstance(given, list | tuple):
        inner = [named(part, f"{name}_{place}") for place, part in enumerate(given)]
    else:
        return {} if given is None else {name: given}
    return {key: part for parts in inner for key, part in parts.items()}


def _has_onnxscript() -> bool:
    return importlib.util.find_spec("onnxscript") is not None


def _write_anew(network: Any, images: Any, outputs: list[str], out: str) -> None:
    """The same by PyTorch's newer exporter."""
    import torch

    torch.onnx.export(
        network,
        (images,),
        out,
        dynamo=True,
        input_names=["images"],
        output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        external_data=False,
        optimize=False,  # or batch norms are folded
        verbose=False,
    )


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
