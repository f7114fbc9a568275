#!/usr/bin/env python3
"""Records what the onnx package says about its operators and about the official vectors, so that go test needs no Python:

    pip install onnx==1.23.2
    python record.py VECTORS      # the folder that OBC_VECTORS names; writes operators.txt and shapes.txt beside this file

operators.txt: one line an operator version: domain, name, version, "function" if it has a body of other operators or "-", "deprecated"
or "-", and for each input NAME=TYPES: its type variable, or the input's own name, with the numbers of the tensor types that it allows;
a trailing + says that it repeats.
shapes.txt: one line a vector: its name and, for each output of each node in order, the type (its number in TensorProto.DataType) and
shape that onnx.shape_inference finds once all declarations behind the inputs are removed: 1[3,?] where ? is an unknown dimension, 1
alone where the rank is unknown, - where it is no tensor or nothing is known.
"""
import os
import sys
import warnings

import onnx
import onnx.defs
from onnx import TensorProto, shape_inference

warnings.filterwarnings("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")


def operators():
    lines = []
    for s in onnx.defs.get_all_schemas_with_history():
        if s.domain in DOMAINS:
            body = "function" if s.has_function or s.has_context_dependent_function else "-"
            fields = (s.domain or "ai.onnx", s.name, s.since_version, body, "deprecated" if s.deprecated else "-")
            lines.append(fields + tuple(input_types(s, i) for i in s.inputs))
    with open(os.path.join(HERE, "operators.txt"), "w") as f:
        for line in sorted(lines):
            f.write(" ".join(map(str, line)) + "\n")


def input_types(schema, i):
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    name = i.type_str if i.type_str in allowed else i.name
    kinds = []
    for t in allowed.get(i.type_str, [i.type_str]):
        if t.startswith("tensor("):
            kinds.append(TensorProto.DataType.Value(t[len("tensor(") : -1].upper()))
    repeats = "+" if i.option == onnx.defs.OpSchema.FormalParameterOption.Variadic else ""
    return f"{name}={','.join(map(str, sorted(kinds)))}{repeats}"


def strip(graph):
    del graph.value_info[:]
    for v in graph.output:
        if v.type.HasField("tensor_type"):
            v.type.tensor_type.ClearField("shape")


def described(v):
    t = v.type.tensor_type
    if not v.type.HasField("tensor_type") or not t.elem_type:
        return "-"
    if not t.HasField("shape"):
        return str(t.elem_type)
    dims = [str(d.dim_value) if d.HasField("dim_value") else "?" for d in t.shape.dim]
    return f"{t.elem_type}[{','.join(dims)}]"


def shapes(root):
    lines = []
    for kind in ("node", "simple", "pytorch-converted", "pytorch-operator"):
        for name in sorted(os.listdir(os.path.join(root, kind))):
            model = onnx.load(os.path.join(root, kind, name, "model.onnx"))
            strip(model.graph)
            try:
                found = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
            except Exception as e:  # onnx refuses its own vector
                print(f"{kind}/{name}: {str(e).splitlines()[0][:120]}", file=sys.stderr)
                continue
            known = {v.name: described(v) for v in list(found.graph.value_info) + list(found.graph.output)}
            lines.append(" ".join([f"{kind}/{name}"] + [known.get(o, "-") for n in found.graph.node for o in n.output if o]))
    with open(os.path.join(HERE, "shapes.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    operators()
    shapes(sys.argv[1])
