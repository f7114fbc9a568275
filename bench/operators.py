#!/usr/bin/env python3
"""Where a model's time goes, kind of operator by kind of operator, in obc's executor and in ONNX Runtime.

    go build -o obc ./cmd/obc
    python bench/operators.py --obc ./obc --shared ../shared
    python bench/operators.py --obc ./obc --models minilm --batches 1

Both run one thread, --count times each. A node's time is the fastest of its runs, a kind's the sum over its nodes; both programs fuse
nodes, so that activations, additions and limits count where they were fused to. What the profilers themselves cost is in the
figures. Output is a Markdown table. Needs Python with onnxruntime and numpy.
"""
import argparse
import json
import os
import subprocess
import tempfile

from executor import MODELS, inputs

KINDS = [
    ("convolutions", ("Conv",)),
    ("products", ("MatMul", "Gemm", "Attention")),
    ("normalization, softmax", ("LayerNorm", "Softmax", "BatchNorm")),
    ("reductions, pools", ("Reduce", "Pool")),
    ("layout", ("Reorder", "Transpose", "Reshape", "Concat", "Split", "Slice", "Gather", "Squeeze", "Unsqueeze", "Expand", "Flatten", "Shape")),
]


def kind(op):
    """The row of the table that an operator, or a fused one such as Conv+Add+Relu, belongs to."""
    return next((k for k, names in KINDS if any(n in op for n in names)), "other elementwise")


def ours(o, model, data, batch):
    """{kind: ms} of obc: its profile over as many batches as there are runs."""
    text = subprocess.run([o.obc, "run", model, "--input", data, "--batch", str(batch), "--threads", "1", "--profile", "--json", "--quiet"],
                          check=True, capture_output=True, text=True).stdout
    return total((n["op"], n["fastest_ms"]) for n in json.loads(text)["nodes"])


def theirs(o, model, data, batch, folder):
    """{kind: ms} of ONNX Runtime's profile."""
    import numpy as np
    import onnxruntime as ort
    opts = ort.SessionOptions()
    opts.intra_op_num_threads = opts.inter_op_num_threads = 1
    opts.enable_profiling, opts.profile_file_prefix = True, os.path.join(folder, "ort")
    s = ort.InferenceSession(model, opts, providers=["CPUExecutionProvider"])
    arrays = np.load(data)
    feeds = {i.name: arrays[i.name][:batch] for i in s.get_inputs()}
    for _ in range(o.count + 1):
        s.run(None, feeds)
    fastest = {}
    for e in json.load(open(s.end_profiling())):
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"):
            key = e["args"]["op_name"], e["name"]
            fastest[key] = min(fastest.get(key, 1e9), e["dur"] / 1e3)
    return total((op, ms) for (op, _), ms in fastest.items())


def total(nodes):
    out = {}
    for op, ms in nodes:
        out[kind(op)] = out.get(kind(op), 0) + ms
    return out


def repeated(path, count):
    """The samples of an .npz file count times, so that obc runs the batch so often."""
    import numpy as np
    z = np.load(path)
    np.savez(path[:-4] + "-many.npz", **{k: np.concatenate([z[k]] * count) for k in z.files})
    return path[:-4] + "-many.npz"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--obc", default="./obc")
    p.add_argument("--shared", default="../shared", help="folder that holds zoo/")
    p.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    p.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    p.add_argument("--count", type=int, default=10, help="runs of each")
    o = p.parse_args()
    print("| model | batch | kind | obc ms | ONNX Runtime ms |\n| --- | ---: | --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for name in o.models:
            model = os.path.join(o.shared, "zoo", MODELS[name][0])
            for batch in o.batches:
                data = inputs(name, o.shared, folder, batch)
                a, b = ours(o, model, repeated(data, o.count), batch), theirs(o, model, data, batch, folder)
                for k in sorted(a.keys() | b.keys(), key=lambda k: -a.get(k, 0) - b.get(k, 0)):
                    print(f"| {name} | {batch} | {k} | {a.get(k, 0):.2f} | {b.get(k, 0):.2f} |", flush=True)


if __name__ == "__main__":
    main()
