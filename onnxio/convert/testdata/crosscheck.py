"""Makes models of old operator sets, one for each conversion rule, and compares converted ones with what they were.

python crosscheck.py make FOLDER        writes FOLDER/NAME.onnx and FOLDER/NAME.npz (inputs)
python crosscheck.py compare < PAIRS    reads lines "before<tab>after", checks both with onnx.checker and ONNX Runtime;
                                        prints what differs, and exits with 1 if anything does
"""
import os
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as nh

IR = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9}
rng = np.random.default_rng(0)


def one(name, opset, op, inputs, consts=(), outputs=1, dtype=np.float32, **attrs):
    """A model of one node (or of a list of nodes) whose first input x is fed, the others are initializers."""
    x = inputs if isinstance(inputs, np.ndarray) else rng.standard_normal(inputs).astype(dtype)
    consts = [np.asarray(c) for c in consts]
    names = ["c%d" % i for i in range(len(consts))]
    outs = ["y%d" % i for i in range(outputs)]
    node = h.make_node(op, ["x"] + names, outs, **attrs) if isinstance(op, str) else None
    nodes = [node] if node else op(names, outs)
    inits = [nh.from_array(c, n) for c, n in zip(consts, names)]
    infos = [h.make_tensor_value_info("x", h.np_dtype_to_tensor_dtype(x.dtype), ["d%d" % i for i in range(x.ndim)])]
    if IR[opset] < 4:
        infos += [h.make_tensor_value_info(t.name, t.data_type, t.dims) for t in inits]
    graph = h.make_graph(nodes, name, infos, [h.make_empty_tensor_value_info(o) for o in outs], inits)
    return graph, x, opset


def models():
    i64, f32 = (lambda *v: np.array(v, np.int64)), (lambda *v: np.array(v, np.float32))
    yield "clip", one("clip", 7, "Clip", (3, 4), min=-0.5, max=0.25)
    yield "clip_low", one("clip", 10, "Clip", (3, 4), min=0.1)
    yield "clip_half", one("clip", 9, "Clip", (3, 4), dtype=np.float16, max=0.5)
    yield "clip_deep", one("clip", 9, lambda c, o: [h.make_node("Relu", ["x"], ["r"]), h.make_node("Clip", ["r"], o, max=0.5)], (3, 4), dtype=np.float64)
    for opset in (7, 9):
        for mode in ("nearest", "linear"):
            if opset == 7:
                yield f"upsample{opset}{mode}", one("u", 7, "Upsample", (1, 2, 3, 4), mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
            else:
                yield f"upsample{opset}{mode}", one("u", 9, "Upsample", (1, 2, 3, 4), [f32(1, 1, 2, 2.5)], mode=mode)
    for mode in ("nearest", "linear"):
        yield "resize_up" + mode, one("r", 10, "Resize", (1, 2, 3, 4), [f32(1, 1, 1.7, 2.5)], mode=mode)
        yield "resize_down" + mode, one("r", 10, "Resize", (1, 2, 6, 9), [f32(1, 1, 0.6, 0.4)], mode=mode)
    yield "resize_sizes", one("r", 11, "Resize", (1, 2, 6, 9), [f32(), f32(), i64(1, 2, 5, 12)], mode="linear", coordinate_transformation_mode="align_corners")
    yield "slice", one("s", 7, "Slice", (4, 5, 6), starts=[1, -3], ends=[3, 100], axes=[0, 2])
    yield "slice_noaxes", one("s", 9, "Slice", (4, 5), starts=[1, 0], ends=[3, -1])
    yield "topk", one("t", 7, "TopK", (3, 7), outputs=2, k=3, axis=1)
    yield "dropout", one("d", 7, "Dropout", (3, 4), ratio=0.3)
    yield "dropout10", one("d", 10, "Dropout", (3, 4), ratio=0.3)
    yield "pad", one("p", 7, "Pad", (2, 3), pads=[1, 0, 0, 2], value=1.5)
    yield "pad_zero", one("p", 10, "Pad", (2, 3), pads=[1, 0, 0, 2])
    yield "pad_reflect", one("p", 8, "Pad", (1, 2, 5, 5), pads=[0, 0, 1, 2, 0, 0, 2, 1], mode="reflect")
    yield "pad_double", one("p", 8, "Pad", (2, 3), dtype=np.float64, pads=[1, 0, 0, 2], value=-2.5)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        yield op + "_default", one("s", 9, op, (2, 3, 4))
        yield op + "_matrix", one("s", 12, op, (3, 4))
        for axis in (0, 2, -1, -2):
            yield f"{op}_{axis}", one("s", 11, op, (2, 3, 4), axis=axis)
    yield "softmax_unknown", one("s", 11, lambda c, o: [h.make_node("Transpose", ["x"], ["t"], perm=[2, 0, 1]), h.make_node("Softmax", ["t"], ["s"], axis=1),
                                                        h.make_node("Neg", ["s"], o)], (2, 3, 4))
    yield "squeeze", one("s", 11, "Squeeze", (1, 3, 1), axes=[0, 2])
    yield "squeeze_all", one("s", 8, "Squeeze", (1, 3, 1))
    yield "unsqueeze", one("s", 11, "Unsqueeze", (3, 2), axes=[0, -1])
    yield "split", one("s", 11, "Split", (6, 4), outputs=3, axis=0, split=[1, 2, 3])
    yield "split_equal", one("s", 7, "Split", (6, 4), outputs=3)
    yield "split13", one("s", 13, "Split", (6, 4), outputs=2, axis=1)
    yield "split13_sizes", one("s", 13, "Split", (6, 4), [i64(1, 3)], outputs=2, axis=1)
    for op in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        for opset in (9, 12, 17):
            if op == "Sum" and opset == 17:
                continue
            x = np.abs(rng.standard_normal((2, 3, 4))).astype(np.float32)
            yield f"Reduce{op}{opset}", one("r", opset, "Reduce" + op, x, axes=[0, 2], keepdims=0)
            yield f"Reduce{op}{opset}_all", one("r", opset, "Reduce" + op, x)
    yield "roialign", one("r", 10, "RoiAlign", (1, 2, 8, 8), [np.array([[0, 0, 5, 5], [1, 2, 7, 6]], np.float32), i64(0, 0)], output_height=3, output_width=3,
                          sampling_ratio=2, spatial_scale=1.0)
    for mode in ("bilinear", "bicubic", "nearest"):
        yield "grid_" + mode, one("g", 16, "GridSample", (1, 2, 4, 5), [rng.uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)], mode=mode)
    yield "grid_default", one("g", 16, "GridSample", (1, 2, 4, 5), [rng.uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)])
    yield "dft", one("d", 17, "DFT", (2, 5, 3, 1))
    yield "dft_axis", one("d", 17, "DFT", (2, 5, 3, 1), axis=2, onesided=1)
    yield "scatter", one("s", 9, "Scatter", (3, 3), [np.array([[1, 0, 2]], np.int64), np.array([[9, 8, 7]], np.float32)], axis=0)
    stats = [np.array(v, np.float32) for v in ([1, 2, 3], [0, 1, -1], [0.5, 0, 1], [1, 2, 0.5])]
    for opset in (7, 9, 13, 14):
        yield f"batchnorm{opset}", one("b", opset, "BatchNormalization", (2, 3, 4), stats, epsilon=1e-3)
    yield "batchnorm_spatial", one("b", 8, "BatchNormalization", (2, 3, 4), stats, spatial=1)
    for ceil in (0, 1):
        yield f"averagepool{ceil}", one("a", 10, "AveragePool", (1, 2, 7, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0], ceil_mode=ceil)
        yield f"averagepool_pad{ceil}", one("a", 18, "AveragePool", (1, 2, 7, 8), kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0], ceil_mode=ceil, count_include_pad=1)
        yield f"maxpool{ceil}", one("m", 10, "MaxPool", (1, 2, 7, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=ceil)
    yield "averagepool_same", one("a", 7, "AveragePool", (1, 2, 7, 8), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")
    for pad in ("SAME_UPPER", "SAME_LOWER"):
        yield "convtranspose_" + pad, one("c", 7, "ConvTranspose", (1, 2, 5, 5), [rng.standard_normal((2, 3, 2, 3)).astype(np.float32)], auto_pad=pad, strides=[1, 2])
    yield "convtranspose_shape", one("c", 7, "ConvTranspose", (1, 2, 5, 5), [rng.standard_normal((2, 3, 3, 3)).astype(np.float32)], output_shape=[8, 8], strides=[2, 2])

    def branches(c, o):
        def branch(name, axis):
            return h.make_graph([h.make_node("ReduceSum", ["x"], ["s" + name], axes=[axis], keepdims=1), h.make_node("Clip", ["s" + name], [name], min=0.0)],
                                name, [], [h.make_tensor_value_info(name, T.FLOAT, None)])
        return [h.make_node("ReduceMax", ["x"], ["m"], keepdims=0), h.make_node("Cast", ["m"], ["b"], to=T.BOOL),
                h.make_node("If", ["b"], o, then_branch=branch("a", 0), else_branch=branch("e", 1))]
    yield "subgraph", one("if", 10, branches, (3, 4))


def make(folder):
    for name, (graph, x, opset) in models():
        m = h.make_model(graph, ir_version=IR[opset], opset_imports=[h.make_opsetid("", opset)])
        for o in m.graph.output:
            if not o.HasField("type"):
                o.type.tensor_type.elem_type = 0
        try:  # the types of the outputs, which ONNX Runtime wants
            m = onnx.shape_inference.infer_shapes(m)
            del m.graph.value_info[:]
        except Exception as e:
            print(name, e)
        onnx.save(m, os.path.join(folder, name + ".onnx"))
        np.savez(os.path.join(folder, name + ".npz"), x=x)
    # a function whose body is of an old operator set
    fn = h.make_function("local", "Norm", ["a"], ["b"], [h.make_node("ReduceMean", ["a"], ["m"], axes=[1]), h.make_node("Sub", ["a", "m"], ["b"])],
                         [h.make_opsetid("", 17)])
    graph = h.make_graph([h.make_node("Norm", ["x"], ["y"], domain="local")], "f", [h.make_tensor_value_info("x", T.FLOAT, [3, 4])],
                         [h.make_tensor_value_info("y", T.FLOAT, [3, 4])])
    m = h.make_model(graph, ir_version=8, functions=[fn], opset_imports=[h.make_opsetid("", 17), h.make_opsetid("local", 1)])
    onnx.save(m, os.path.join(folder, "function.onnx"))
    np.savez(os.path.join(folder, "function.npz"), x=rng.standard_normal((3, 4)).astype(np.float32))


def feeds(path, session):
    """Inputs: NAME.npz or NAME.io.npz beside the model, tensors in test_data_set_0, or random numbers."""
    for npz, prefix in ((path[:-5] + ".npz", ""), (path[:-5] + ".io.npz", "in__")):
        if os.path.exists(npz):
            z = np.load(npz)
            return {k[len(prefix):]: z[k] for k in z.files if k.startswith(prefix)}
    out = {}
    for i, v in enumerate(session.get_inputs()):
        pb = os.path.join(os.path.dirname(path), "test_data_set_0", f"input_{i}.pb")
        if os.path.exists(pb):
            t = onnx.TensorProto()
            with open(pb, "rb") as f:
                t.ParseFromString(f.read())
            out[v.name] = nh.to_array(t)
        else:
            shape = [d if isinstance(d, int) and d > 0 else 2 for d in v.shape]
            out[v.name] = rng.standard_normal(shape).astype(np.float32) if "float" in v.type else rng.integers(0, 2, shape).astype(np.int64)
    return out


def expected(path, i):
    """Output i of a test vector: where the runtime is wrong about the old version, it settles the matter."""
    pb = os.path.join(os.path.dirname(path), "test_data_set_0", f"output_{i}.pb")
    if not os.path.exists(pb):
        return None
    t = onnx.TensorProto()
    with open(pb, "rb") as f:
        t.ParseFromString(f.read())
    return nh.to_array(t)


def same(a, b):
    if not isinstance(b, np.ndarray):
        return True  # sequences and optionals
    if a is None:
        return False
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind not in "fc":
        return bool((a == b).all())
    tol = 2e-3 if a.dtype == np.float16 else 1e-5
    return bool(np.allclose(a, b, rtol=tol, atol=tol / 10, equal_nan=True))


def fails(fn, *args):
    try:
        fn(*args)
    except Exception as e:
        return str(e)[:300]
    return None


def compare(lines):
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    counts = {"same": 0, "runtime cannot run the original": 0, "runtime has no kernel of the new version": 0, "bad": 0}
    for before, after in (line.rstrip("\n").split("\t") for line in lines):
        problem = None if fails(onnx.checker.check_model, before) else fails(onnx.checker.check_model, after)
        if problem is None:
            try:
                session = ort.InferenceSession(before, options, providers=["CPUExecutionProvider"])
                inputs = feeds(before, session)
                want = session.run(None, inputs)
            except Exception:
                counts["runtime cannot run the original"] += 1
                continue
            try:
                got = ort.InferenceSession(after, options, providers=["CPUExecutionProvider"]).run(None, inputs)
                bad = [i for i, (a, b) in enumerate(zip(want, got)) if not same(a, b) and not same(expected(before, i), b)]
                problem = f"outputs {bad} differ" if bad else None
            except Exception as e:
                problem = str(e)[:300]
                if "NOT_IMPLEMENTED" in problem:
                    counts["runtime has no kernel of the new version"] += 1
                    continue
        counts["bad" if problem else "same"] += 1
        if problem:
            print(before, problem)
    print(counts)
    return counts["bad"]


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        sys.exit(1 if compare(sys.stdin) else 0)
