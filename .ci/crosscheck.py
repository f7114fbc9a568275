#!/usr/bin/env python3
"""Compress a model of the zoo in several forms and compare what ONNX Runtime and `obc run` make of each written file.

    python .ci/crosscheck.py --obc ./obc --shared ../shared fmnist-resnet [--only NAME] [--keep FOLDER]

For each form: the ONNX checker accepts the file; inputs, outputs, nodes and initializers keep their names; ONNX Runtime loads
it without complaint and turns every layer into the operator that the form is for; and its outputs are those of `obc run`.
Quantized files are compared by decisions, of which 99.5% must be equal: integer and float arithmetic round ties apart, and a
network of many quantizers lets that grow. Beside a miss stands how far ONNX Runtime with and without its optimizations agrees with itself.
Settings are short (64 samples, rounding instead of solving): how accurate a method is, is measured elsewhere.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

SHORT = ["--samples", "64", "--method", "rtn", "--correction", "none"]
W8A8 = ["--weights", "int8", "--activations", "int8"]
W4A4 = ["--weights", "int4", "--activations", "int4", "--range", "mse"]
CONV15 = {"QLinearConv": 15, "QGemm": 1, "Conv": 0, "Gemm": 0}

# model: name of the form, flags, {operator in ONNX Runtime's optimized graph: how many}, largest difference over the output's
# range (float files) or None (quantized files: the share of equal decisions counts)
FORMS = {
    "fmnist-resnet": [
        ("2:4", ["--nm", "2:4", "--samples", "64"], {"QLinearConv": 0}, 1e-3),
        ("sparse initializers", ["--sparsity", "0.9", "--sparse-initializer"] + SHORT, {}, 1e-3),
        ("8w8a", W8A8 + ["--samples", "64"], CONV15, None),
        ("8w8a asymmetric", W8A8 + ["--symmetric=false"] + SHORT, CONV15, None),
        ("7w8a per tensor", ["--weights", "int7", "--activations", "int8", "--granularity", "tensor"] + SHORT, CONV15, None),
        ("2:4 4w4a", ["--nm", "2:4"] + W4A4 + SHORT, CONV15, None),
        ("4w4a exact container", W4A4 + ["--container", "exact"] + SHORT, {}, None),
        ("w4", ["--weights", "int4"] + SHORT, {"MatMulNBits": 1}, None),
        ("w3 exact container", ["--weights", "int3", "--container", "exact"] + SHORT, {}, None),
        ("w4 groups", ["--weights", "int4", "--group", "16", "--container", "exact"] + SHORT, {}, None),
        ("w4 as float", ["--weights", "int4", "--form", "float"] + SHORT, {"DequantizeLinear": 0}, 1e-3),
    ],
    "efficientnet-lite0": [
        ("unstructured", ["--sparsity", "0.5"] + SHORT, {"QLinearConv": 0}, 1e-3),
        ("8w8a", W8A8 + SHORT, {"QLinearConv": 49, "QGemm": 1, "Conv": 0, "Clip": 0}, None),
        ("w8", ["--weights", "int8"] + SHORT, {"MatMulNBits": 1}, None),
    ],
    "minilm": [
        ("2:4", ["--nm", "2:4"] + SHORT, {"MatMulNBits": 0}, 1e-3),
        ("8w8a", W8A8 + SHORT, {"MatMulIntegerToFloat": 36}, None),
        ("w4 groups", ["--weights", "int4", "--group", "32"] + SHORT, {"MatMulNBits": 36}, None),
        ("w8 MatMulNBits", ["--weights", "int8", "--form", "matmulnbits"] + SHORT, {"MatMulNBits": 36}, None),
        ("w2 exact container", ["--weights", "int2", "--container", "exact"] + SHORT, {"MatMulNBits": 36}, None),
    ],
}

problems = []


def fail(form, text):
    problems.append(f"{form}: {text}")
    print(f"  WRONG {text}")


class Data:
    """What a model is calibrated and compared on: a list of feeds, and how two sets of outputs are compared."""

    def __init__(self, model, home):
        self.model, self.flags = model, []
        if model == "efficientnet-lite0":
            from PIL import Image
            self.calib = home + "/calib"
            self.flags = ["--preprocess", "mean: [127], std: [128]"]
            x = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in sorted(glob.glob(home + "/calib/*.png"))[:200]])
            x = ((x.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
            self.feeds = [{onnx.load(home + "/model.onnx").graph.input[0].name: np.ascontiguousarray(x)}]
        elif model == "fmnist-resnet":
            self.calib = home + "/calib.npz"
            self.feeds = [{"input": np.load(self.calib)["input"][:600]}]
        else:
            self.calib = home + "/calib.npz"
            z = np.load(home + "/eval.npz")
            self.feeds = [{k.split("__")[1]: z[k] for k in z.files if k.startswith(part + "__")} for part in ("query", "word")]

    def decisions(self, outs):
        """What the outputs are good for, as an array: the largest entry, or whether a definition finds its word among ten."""
        if self.model != "minilm":
            return outs[0].argmax(1)
        near = outs[0] @ outs[1].T
        return (near > near.diagonal()[:, None] + 1e-5).sum(1) < 10


def run_ort(path, feeds, optimized=None):
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.log_severity_level = 2, 3
    if optimized:
        o.optimized_model_filepath = optimized
    else:
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    outs = []
    for f in feeds:
        n = len(next(iter(f.values())))
        outs.append(np.concatenate([s.run(None, {k: v[i:i + 50] for k, v in f.items()})[0] for i in range(0, n, 50)]))
    return outs


def run_obc(obc, path, feeds, folder):
    name = onnx.load(path, load_external_data=False).graph.output[0].name
    outs = []
    for f in feeds:
        np.savez(folder + "/x.npz", **f)
        subprocess.run([obc, "run", path, "--input", folder + "/x.npz", "-o", folder + "/y.npz", "--quiet", "--mask", "none"], check=True, stdout=subprocess.DEVNULL)
        outs.append(np.load(folder + "/y.npz")[name])
    return outs


def check_names(form, dense, file):
    """Inputs and outputs stay as they are; no node and no tensor that was an initializer is called otherwise."""
    a, b = dense.graph, file.graph
    if list(map(str, a.input)) != list(map(str, b.input)) or list(map(str, a.output)) != list(map(str, b.output)):
        fail(form, "inputs or outputs changed")
    # Constants that were folded together, and nodes that stood for them, may go; none does in the models of the zoo.
    gone = {n.name for n in a.node} - {n.name for n in b.node}
    if gone:
        fail(form, f"nodes are gone: {sorted(gone)[:5]}")
    tensors = {i.name for i in b.initializer} | {i.values.name for i in b.sparse_initializer} | {o for n in b.node for o in n.output}
    used = {i for n in a.node for i in n.input}
    gone = {i.name for i in a.initializer if i.name in used} - tensors
    if gone and "MatMulNBits" not in {n.op_type for n in b.node}:
        fail(form, f"initializers are gone: {sorted(gone)[:5]}")


def check_annotations(form, file):
    keys = {p.key for p in file.metadata_props}
    if not {"obc.tool", "obc.recipe"} <= keys:
        fail(form, f"no annotations on the model: {sorted(keys)}")
    marked = [n for n in file.graph.node if any(p.key == "obc.form" for p in n.metadata_props)]
    if not marked and not any(k.startswith("obc.layer.") for k in keys):
        fail(form, "no annotations on the layers")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", choices=sorted(FORMS))
    p.add_argument("--obc", default="./obc"), p.add_argument("--shared", default="../shared")
    p.add_argument("--only"), p.add_argument("--keep", help="leave the written files there")
    a = p.parse_args()
    home = os.path.join(a.shared, "zoo", a.model)
    data, dense = Data(a.model, home), onnx.load(home + "/model.onnx")
    folder = a.keep or tempfile.mkdtemp(prefix="obc-crosscheck-")
    os.makedirs(folder, exist_ok=True)
    for form, flags, fused, limit in FORMS[a.model]:
        if a.only and a.only != form:
            continue
        start = time.time()
        path = os.path.join(folder, f"{a.model} {form}.onnx".replace(" ", "_").replace(":", ""))
        command = [a.obc, "compress", home + "/model.onnx", "--calib", data.calib, *data.flags, *flags, "--quiet", "--json", "-o", path]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            fail(form, f"exit code {done.returncode}: {done.stderr.strip()}\n  {' '.join(command)}")
            continue
        file = onnx.load(path)
        onnx.checker.check_model(path, full_check=not file.graph.sparse_initializer)  # onnx 1.23 cannot infer shapes from sparse ones
        check_names(form, dense, file)
        check_annotations(form, file)
        theirs = run_ort(path, data.feeds, folder + "/optimized.onnx")
        ours = run_obc(a.obc, path, data.feeds, folder)
        counts = collections.Counter(n.op_type for n in onnx.load(folder + "/optimized.onnx").graph.node)
        for op, n in fused.items():
            if counts[op] != n:
                fail(form, f"{counts[op]} {op} in ONNX Runtime's graph, expected {n}: {dict(counts)}")
        apart = max(float(np.abs(x - y).max() / (y.max() - y.min())) for x, y in zip(theirs, ours))
        same = float((data.decisions(theirs) == data.decisions(ours)).mean())
        if limit is not None and not apart <= limit:
            fail(form, f"outputs differ by {apart:.2e} of their range, at most {limit} allowed")
        if not same >= 0.995:
            plain = float((data.decisions(theirs) == data.decisions(run_ort(path, data.feeds))).mean())
            fail(form, f"{same:.2%} of the decisions are equal, at least 99.5% expected; {plain:.2%} in ONNX Runtime without optimizations")
        print(f"{a.model} {form}: difference {apart:.1e} of the range, {same:.2%} equal, opset {max(o.version for o in file.opset_import if not o.domain)}, "
              f"{os.path.getsize(path)} bytes, {json.dumps({k: counts[k] for k in fused})}, {time.time() - start:.1f} s", flush=True)
        if not a.keep:
            os.remove(path)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
