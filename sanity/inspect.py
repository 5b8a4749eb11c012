"""Looks into a model: `python -m sanity.inspect model=inception_v3`, or `sanity-inspect`.

Takes the overrides that `python -m sanity` takes, and `--json` for a program to read.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.arguments import Parser, mistakes_told
from sanity.config.given import Overrides, words
from sanity.config.job import compose
from sanity.config.stored import stored_job
from sanity.errors import ConfigError

if TYPE_CHECKING:
    from sanity.config.job import Job
    from sanity.network.classifier import Classifier
    from sanity.randomization import Scheme

_BEYOND = "does not reach the output"
_ABOUT = """Shows what a model is made of: its signatures, input, outputs, variables and blocks.

    python -m sanity.inspect model=inception_v3 model.handle=FOLDER
    python -m sanity.inspect --json model=keras model.path=my.keras
    python -m sanity.inspect outputs/default/RUN_ID     the model of a run
"""


def inspect(
    overrides: Overrides = (),
    *,
    config_dir: str | None = None,
    run: str | None = None,
    trust: bool = False,
) -> dict[str, Any]:
    """What is to be known of a model before it is explained, as plain lists and dicts.

    Args:
        overrides: As on the command line, `["model=inception_v3"]`, or by key.

        config_dir: A folder of YAMLs of one's own.
        run: A run's folder, whose model is looked into.
        trust: Whether code that is not sanity's may run, which that run names.

    Raises:
        ConfigError: The model cannot be had.
    """
    from sanity.network.tensorflow import start_tensorflow

    if run is None:
        job = compose(overrides, config_dir, scored=False)
    else:
        job, _ = stored_job(Path(run).expanduser(), words(overrides), trust=trust)
    start_tensorflow(job.settings.runtime.threads)
    return describe(job.model.load(), signatures(job), job.randomization)


def describe(
    classifier: "Classifier",
    signatures: Sequence[dict[str, Any]] = (),
    scheme: "Scheme | None" = None,
) -> dict[str, Any]:
    """A loaded classifier in plain lists and dicts.

    Args:
        classifier: The network.
        signatures: Of the module it comes from.
        scheme: Whose full cascade is asked what it takes; another kind than `Randomization`, or
            None, for the default one.
    """
    parameters = list(classifier.parameters.values())
    from sanity.network.graph import op_of

    seen = classifier.network.seen
    shapes, depths = classifier.network.output_shapes, classifier.graph.depths
    return {
        "model": classifier.name,
        "sha256": classifier.weights.sha256,
        "signatures": list(signatures),
        "input": {"shape": list(classifier.input_shape), "dtype": "float32", "range": [0, 1]},
        "first_layer_sees": None if seen is None else [seen.low, seen.high],
        "classes": classifier.n_classes,
        "class_offset": classifier.class_offset,
        "explained": {
            "output": classifier.ending.output,
            "tensor": classifier.logits_tensor,
            "taken_off": classifier.ending.taken_off or None,
            "probabilities": classifier.ending.link,
        },
        "outputs": [
            {"name": name, "tensor": tensor, "shape": shapes[name][0], "dtype": shapes[name][1]}
            for name, tensor in sorted(
                classifier.graph.outputs.items(),
                key=lambda one: (depths.get(op_of(one[1]), 0), one[0]),
            )
        ],
        "grad_cam": _grad_cam(classifier),
        "nonlinearities": _nonlinearities(classifier),
        "parameters": sum(p.size for p in parameters),
        "cascade": _cascade(classifier, scheme),
        "blocks": [
            {
                "name": block,
                "parameters": sum(p.size for p in parameters if p.block == block),
                "variables": [p.name for p in parameters if p.block == block],
            }
            for block in classifier.blocks
        ],
        "variables": [
            {
                "name": p.name,
                "shape": list(p.shape),
                "dtype": str(classifier.trained[p.name].dtype),
                "kind": p.kind,
                "block": p.block or None,
                "trainable": p.trainable,
                "reaches_output": p.reaches,
                "fan_in": p.fan_in or None,
                "fan_out": p.fan_out or None,
            }
            for p in parameters
        ],
    }


def _cascade(classifier: "Classifier", scheme: "Scheme | None") -> dict[str, Any]:
    """How many of the trainable parameters a cascade through all blocks takes, and what is left."""
    from sanity.randomization import Randomization

    if not isinstance(scheme, Randomization):
        scheme = Randomization()
    taken = {name for block in classifier.blocks for name in scheme.taken(classifier, block)}
    learned = [p for p in classifier.parameters.values() if p.learned]
    return {
        "randomized": sum(p.size for p in learned if p.name in taken),
        "of": sum(p.size for p in learned),
        "kept": [p.name for p in learned if p.name not in taken],
    }


def signatures(job: "Job") -> list[dict[str, Any]]:
    """The signatures of the module a job's model is loaded from, with inputs and outputs."""
    from sanity.models.module import load

    folder = job.model.folder()
    if folder is None:
        return []
    found = getattr(load(Path(folder), str(folder)), "signatures", {})
    return [
        {
            "name": name,
            "inputs": _specs(function.structured_input_signature[1]),
            "outputs": _specs(function.structured_outputs),
        }
        for name, function in sorted(found.items())
    ]


def _specs(specs: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": None if spec.shape.rank is None else list(spec.shape),
            "dtype": spec.dtype.name,
        }
        for name, spec in sorted(specs.items())
    ]


def _grad_cam(classifier: "Classifier") -> str | None:
    try:
        return classifier.network.spatial_tensor(None)
    except ConfigError:
        return None


def _nonlinearities(classifier: "Classifier") -> list[dict[str, Any]]:
    """The nonlinearities between image and logits, how often, and the rules that change them."""
    from sanity.network.anatomy.nonlinearities import Nonlinearities
    from sanity.network.passes.backprop_rules import DECONVNET, GUIDED, RESCALE

    graph = classifier.graph
    found = Nonlinearities(graph, classifier.logits_tensor)
    course = found.course(through_gates=True)
    ungated = {function.y for function in found.course(through_gates=False).functions}
    rules: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for function in course.functions:
        guided = (GUIDED.name, DECONVNET.name) if function.y in found.rectifiers else ()
        relevance = ("epsilon_lrp",) if function.y in ungated else ()
        rules[found.describe(function), (*guided, RESCALE.name, *relevance)] += 1
    for name in course.maxima:
        op = graph.nodes[name].op
        rules[op, (RESCALE.name,) if op in RESCALE.maxima else ()] += 1
    for product in course.products:
        if product.gate is None:
            rules["product", () if product.normalizes else (RESCALE.name,)] += 1
        else:
            rules["gate", (RESCALE.name, "epsilon_lrp")] += 1
    rules.update((graph.nodes[name].op, ()) for name in course.others)
    return [{"op": op, "count": count, "rules": list(r)} for (op, r), count in rules.items()]


def _range(seen: list[float] | None) -> str:
    return "the images as they are" if seen is None else f"[{seen[0]:.4g}, {seen[1]:.4g}]"


def text(facts: dict[str, Any]) -> str:
    """The facts as a page to read."""
    explained, given = facts["explained"], facts["input"]
    off = f", the {explained['taken_off']} taken off" if explained["taken_off"] else ""
    lines = [
        f"{facts['model']}: {facts['parameters']:,} parameters, {facts['classes']} classes",
        f"sha256 of the weights  {facts['sha256']}",
        f"input                  {_shape(given['shape'])} float32 in [0, 1]",
        f"first layer sees       {_range(facts['first_layer_sees'])}",
        f"explained              {explained['output']} ({explained['tensor']}){off}",
        f"Grad-CAM's layer       {facts['grad_cam'] or 'none: no spatial tensor on the way'}",
    ]
    cascade = facts["cascade"]
    kept = f": {', '.join(cascade['kept'])} stay as trained" if cascade["kept"] else ""
    lines.append(
        f"randomized by a full cascade: {cascade['randomized']:,} of {cascade['of']:,} trainable "
        f"parameters that reach the output{kept}"
    )
    if facts["signatures"]:
        rows = [
            (
                signature["name"],
                ", ".join(f"{i['name']} {_shape(i['shape'])} {i['dtype']}" for i in inputs)
                or "none",
                len(signature["outputs"]),
            )
            for signature in facts["signatures"]
            for inputs in [signature["inputs"]]
        ]
        lines += _table("signatures", ("name", "inputs", "outputs"), rows)
    lines += _table(
        "outputs",
        ("name", "shape", "type"),
        [(one["name"], _shape(one["shape"]), one["dtype"]) for one in facts["outputs"]],
    )
    lines += _table(
        "nonlinearities, and the backprop rules that change them",
        ("of ops", "count", "rules"),
        [(one["op"], one["count"], ", ".join(one["rules"])) for one in facts["nonlinearities"]],
    )
    lines += _table(
        "blocks, from output to input",
        ("block", "variables", "parameters"),
        [(b["name"], len(b["variables"]), f"{b['parameters']:,}") for b in facts["blocks"]],
    )
    lines += _table(
        "variables, from input to output",
        ("name", "shape", "type", "role", "block"),
        [
            (v["name"], _shape(v["shape"]), v["dtype"], _role(v), _place(v))
            for v in facts["variables"]
        ],
    )
    return "\n".join(lines)


def _role(variable: dict[str, Any]) -> str:
    return f"{variable['kind']}{'' if variable['trainable'] else ', not trainable'}"


def _place(variable: dict[str, Any]) -> str:
    return str(variable["block"] or ("-" if variable["reaches_output"] else _BEYOND))


def _shape(shape: Sequence[int | None] | None) -> str:
    if shape is None:
        return "any"
    return "×".join("?" if size is None else str(size) for size in shape) or "scalar"


def _table(title: str, header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    cells = [tuple(map(str, row)) for row in rows]
    if not cells:
        return ["", f"{title}: none"]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    return [
        "",
        f"{title} ({len(cells)})",
        *(
            "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            for row in (header, *cells)
        ),
    ]


def main() -> None:
    """Prints what is known of a model; a user's mistake is one sentence and exit code 2."""
    parser = Parser("sanity-inspect", _ABOUT)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for sanity itself")
    parser.add_argument("--config-dir", "-cd", metavar="FOLDER", help="YAMLs of your own")
    parser.add_argument("--trust", action="store_true", help="run code that a run names")
    parser.add_argument("--json", action="store_true", help="for a program to read")
    with mistakes_told("sanity-inspect"):
        options = parser.read()
        given = options.overrides
        run = given.pop(0) if given and "=" not in given[0] else None
        facts = inspect(given, config_dir=options.config_dir, run=run, trust=options.trust)
        print(json.dumps(facts, indent=2) if options.json else text(facts))


if __name__ == "__main__":
    main()
