"""Records what ONNX Runtime gives for small models: the cases of the other scripts beside this one.

A set of cases is one archive with, for each case NAME,

    NAME/model.onnx         the model
    NAME/input_K.pb         TensorProto of the graph's input K, with its name
    NAME/output_K.pb        TensorProto of the graph's output K
    NAME/tolerance.json     rtol, atol (both of floating-point outputs), codes (how far integer outputs may be off)

The Go test reads the archives; Python is needed only to make them again: python contrib.py and so on, with
onnx 1.23.2, onnxruntime 1.32.0 and ml_dtypes.
"""

import gzip
import io
import json
import os
import tarfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
MS = "com.microsoft"


def node(op, inputs, outputs, domain="", **attrs):
    """A node from space-separated names; _ is an omitted input or output."""
    names = lambda s: ["" if n == "_" else n for n in s.split()]
    attrs = {k: v for k, v in attrs.items() if v is not None}
    n = helper.make_node(op, names(inputs), names(outputs), domain=domain, **attrs)
    n.name = "n_" + n.output[0]
    return n


def ms(op, inputs, outputs, **attrs):
    return node(op, inputs, outputs, domain=MS, **attrs)


class Set:
    """Collects cases and writes them as one archive."""

    def __init__(self, name):
        self.path, self.files, self.seen = os.path.join(HERE, name), {}, set()

    def case(self, name, nodes, feeds, inits=None, outputs="y", opset=17, ms_opset=1, rtol=1e-5, atol=1e-6, codes=0, ir=10,
             optimize=False, cut=None):
        """Builds a model and records it. cut changes an output (by number) to what the operator defines of it."""
        out = outputs.split()
        g = helper.make_graph(
            nodes, name,
            [helper.make_tensor_value_info(k, dtype(v), dims_of(v)) for k, v in feeds.items()],
            [helper.make_empty_tensor_value_info(o) for o in out],
            [tensor(v, k) for k, v in (inits or {}).items()])
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(MS, ms_opset)], ir_version=ir)
        m.producer_name = "recorder.py"
        self.record(name, m, feeds, rtol=rtol, atol=atol, codes=codes, optimize=optimize, cut=cut)

    def record(self, name, model, feeds, rtol=1e-5, atol=1e-6, codes=0, optimize=False, cut=None):
        if name in self.seen:
            raise ValueError("case %s twice" % name)
        so = ort.SessionOptions()
        so.log_severity_level = 3
        so.intra_op_num_threads = 1
        if not optimize:
            so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            s = ort.InferenceSession(model.SerializeToString(), so, providers=["CPUExecutionProvider"])
            got = s.run(None, {k: v for k, v in feeds.items()})
        except Exception as e:
            raise RuntimeError("%s: %s" % (name, e)) from None
        self.seen.add(name)
        self.files[name + "/model.onnx"] = model.SerializeToString(deterministic=True)
        for k, (n, v) in enumerate(feeds.items()):
            self.files["%s/input_%d.pb" % (name, k)] = tensor(v, n).SerializeToString(deterministic=True)
        for k, o in enumerate(s.get_outputs()):
            v = got[k] if cut is None or k not in cut else cut[k](got[k])
            self.files["%s/output_%d.pb" % (name, k)] = tensor(v, o.name).SerializeToString(deterministic=True)
        self.files[name + "/tolerance.json"] = json.dumps({"rtol": rtol, "atol": atol, "codes": codes}).encode()

    def write(self):
        with open(self.path, "wb") as out, gzip.GzipFile("", "wb", 9, out, mtime=0) as zipped:
            with tarfile.open(mode="w", fileobj=zipped, format=tarfile.USTAR_FORMAT) as archive:
                for name in sorted(self.files):
                    info = tarfile.TarInfo(name)
                    info.size = len(self.files[name])
                    archive.addfile(info, io.BytesIO(self.files[name]))
        print("%s: %d cases, %d bytes" % (os.path.basename(self.path), len(self.seen), os.path.getsize(self.path)))


def dims_of(v):
    return list(np.shape(v))


def dtype(v):
    return helper.np_dtype_to_tensor_dtype(np.asarray(v).dtype)


def tensor(v, name):
    if isinstance(v, TensorProto):
        v.name = name
        return v
    return numpy_helper.from_array(np.ascontiguousarray(v) if np.ndim(v) else np.asarray(v), name)


class Random:
    """Reproducible inputs."""

    def __init__(self, seed=0):
        self.r = np.random.RandomState(seed)

    def f(self, *shape, scale=1.0, dtype=np.float32):
        return (self.r.standard_normal(shape) * scale).astype(dtype)

    def u8(self, *shape):
        return self.r.randint(0, 256, shape).astype(np.uint8)

    def s8(self, *shape):
        return self.r.randint(-128, 128, shape).astype(np.int8)

    def ints(self, lo, hi, *shape, dtype=np.int64):
        return self.r.randint(lo, hi, shape).astype(dtype)


def f32(x):
    return np.asarray(x, np.float32)
