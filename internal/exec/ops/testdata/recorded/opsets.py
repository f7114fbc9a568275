"""Records operators in the older versions that the official vectors no longer have: opsets.tar.gz.

    OBC_VECTORS=... python opsets.py

The official vectors of one node are run in ONNX Runtime under each older operator set in which the operator had another version, as far
as it takes them; what an older version wrote differently stands in by_hand. Of each operator and version a few cases are kept.
"""

import os
import sys

import numpy as np
import onnx
import onnx.defs
from onnx import TensorProto, helper, numpy_helper

from recorder import Random, Set, f32, node

OLDEST, NEWEST, KEPT = 7, 26, int(os.environ.get("KEPT", "1"))
RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Dropout"}
# Where ONNX Runtime does not give what the vector itself expects.
OTHERWISE = ("test_attention_4d_with_past_and_present_qk_matmul_bias", "test_maxunpool_export_with_output_shape",
             "test_resize_downsample_scales_cubic_align_corners", "test_resize_downsample_scales_linear_align_corners")
S = Set("opsets.tar.gz")
R = Random(7)


def versions(op):
    return sorted({s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.name == op})


def load(path):
    t = TensorProto()
    with open(path, "rb") as f:
        t.ParseFromString(f.read())
    return t


def from_vectors(root):
    kept = {}
    for name in sorted(os.listdir(os.path.join(root, "node"))):
        folder = os.path.join(root, "node", name)
        m = onnx.load(os.path.join(folder, "model.onnx"))
        if len(m.graph.node) != 1 or m.graph.node[0].domain or m.graph.node[0].op_type in RANDOM or "expanded" in name:
            continue
        if name.startswith(OTHERWISE) or any(v.type.tensor_type.elem_type >= TensorProto.FLOAT8E4M3FN for v in m.graph.output):
            continue
        if any(not v.type.HasField("tensor_type") for v in list(m.graph.input) + list(m.graph.output)):
            continue
        op, now = m.graph.node[0].op_type, m.opset_import[0].version
        try:
            tensors = [load(os.path.join(folder, "test_data_set_0", "input_%d.pb" % k)) for k in range(len(m.graph.input))]
            feeds = {v.name: numpy_helper.to_array(t) for v, t in zip(m.graph.input, tensors)}
        except Exception:
            continue
        if sum(v.nbytes for v in feeds.values()) > 20000:
            continue
        list_ = versions(op)
        for k, since in enumerate(list_):
            following = list_[k + 1] if k + 1 < len(list_) else NEWEST + 1
            opset = max(since, OLDEST)
            if following <= OLDEST or opset > NEWEST or since <= now < following or kept.get((op, since), 0) >= KEPT:
                continue
            old = onnx.ModelProto()
            old.CopyFrom(m)
            old.ir_version = 10
            old.opset_import[0].version = opset
            del old.graph.value_info[:]
            try:
                onnx.checker.check_model(old)
                for v in old.graph.output:
                    v.type.tensor_type.ClearField("shape")
                S.record("%s_%d" % (name, since), old, feeds, rtol=1e-3, atol=1e-5)
                kept[op, since] = kept.get((op, since), 0) + 1
            except Exception as e:
                if os.environ.get("SHOW"):
                    print(name, since, str(e).replace("\n", " ")[:150], file=sys.stderr)


def old(name, op, opset, feeds, inits=None, outputs="y", rtol=1e-4, inputs=None, **attrs):
    names = inputs or " ".join(list(feeds) + list(inits or {}))
    try:
        S.case("%s_%d" % (name, opset), [node(op, names, outputs, **attrs)], feeds, inits, outputs=outputs, opset=opset, rtol=rtol, ir=8)
    except RuntimeError as e:  # not every old version runs there
        print(str(e).replace("\n", " ")[:200], file=sys.stderr)


def i64(*v):
    return np.array(v, np.int64)


def by_hand():
    x = R.f(2, 3, 4)
    for opset in (7, 9, 10):
        old("clip_attributes", "Clip", opset, {"x": x}, min=-0.5, max=0.75)
        old("clip_low_only", "Clip", opset, {"x": x}, min=-0.5)
        for mode in ("constant", "reflect", "edge"):
            old("pad_" + mode, "Pad", opset, {"x": x}, mode=mode, pads=[0, 1, 2, 0, 1, 1], value=1.5)
        old("pad_crop", "Pad", opset, {"x": x}, pads=[0, -1, 0, 1, 0, -2])
        old("dropout", "Dropout", opset, {"x": x}, ratio=0.3)
    for opset in (7, 9):
        old("slice_attributes", "Slice", opset, {"x": x}, starts=[0, -3], ends=[1, 1000], axes=[0, 2])
        old("slice_all_axes", "Slice", opset, {"x": x}, starts=[1, 0, 1], ends=[2, -1, 3])
        old("topk_attribute", "TopK", opset, {"x": x}, outputs="y i", k=2, axis=1)
    old("upsample_nearest", "Upsample", 7, {"x": R.f(1, 2, 3, 3)}, scales=[1.0, 1.0, 2.0, 3.0])
    old("upsample_input", "Upsample", 9, {"x": R.f(1, 2, 3, 3)}, {"s": f32([1, 1, 2, 3])}, mode="nearest")
    for opset in (7, 9):
        attrs = {"scales": [1.0, 1.0, 1.5, 2.0]} if opset < 9 else {}
        old("upsample_linear", "Upsample", opset, {"x": R.f(1, 2, 3, 3)}, {} if attrs else {"s": f32([1, 1, 1.5, 2])}, mode="linear", **attrs)
    for mode in ("nearest", "linear"):
        old("resize_up_" + mode, "Resize", 10, {"x": R.f(1, 1, 4, 4)}, {"s": f32([1, 1, 2, 1.5])}, mode=mode)
        old("resize_down_" + mode, "Resize", 10, {"x": R.f(1, 1, 4, 6)}, {"s": f32([1, 1, 0.5, 0.6])}, mode=mode)
    for opset in (11, 13, 18):
        roi, none = ({"roi": f32([])}, "roi") if opset == 11 else ({}, "_")
        for tag, attrs in (("half_pixel", dict(mode="linear", coordinate_transformation_mode="half_pixel")),
                           ("pytorch", dict(mode="linear", coordinate_transformation_mode="pytorch_half_pixel")),
                           ("asymmetric", dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")),
                           ("ceil", dict(mode="nearest", nearest_mode="ceil")),
                           ("cubic", dict(mode="cubic", cubic_coeff_a=-0.5)), ("outside", dict(mode="cubic", exclude_outside=1))):
            old("resize_" + tag, "Resize", opset, {"x": R.f(1, 1, 4, 5)}, {**roi, "s": f32([1, 1, 1.5, 2.3])}, inputs="x %s s" % none, **attrs)
        old("resize_sizes", "Resize", opset, {"x": R.f(1, 1, 4, 5)}, {**roi, "n": i64(1, 1, 3, 7)}, inputs="x %s _ n" % none, mode="linear")
    old("resize_roi", "Resize", 11, {"x": R.f(1, 1, 4, 4)}, {"roi": f32([0, 0, 0.2, 0.1, 1, 1, 0.8, 1.2]), "s": f32([1, 1, 1.5, 2])},
        mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=9.0)
    for opset in (7, 11, 12):
        old("split_attribute", "Split", opset, {"x": R.f(2, 6)}, outputs="a b c", axis=1, split=[1, 2, 3])
        old("split_equal", "Split", opset, {"x": R.f(4, 3)}, outputs="a b", axis=-2 if opset >= 11 else 0)
        old("squeeze_attribute", "Squeeze", opset, {"x": R.f(1, 3, 1, 2)}, axes=[2] if opset < 11 else [-2])
        old("squeeze_all", "Squeeze", opset, {"x": R.f(1, 3, 1, 2)})
        old("unsqueeze_attribute", "Unsqueeze", opset, {"x": R.f(3, 2)}, axes=[0, 3])
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"):
            old(op.lower() + "_attribute", op, opset, {"x": x}, axes=[0, 2], keepdims=0)
            old(op.lower() + "_all", op, opset, {"x": x})
        old("reducelogsum_attribute", "ReduceLogSum", opset, {"x": np.abs(x) + 1}, axes=[1])
        for op in ("Softmax", "LogSoftmax", "Hardmax"):
            old(op.lower() + "_flat", op, opset, {"x": x})
            old(op.lower() + "_flat_axis", op, opset, {"x": x}, axis=2)
            old(op.lower() + "_flat_axis_0", op, opset, {"x": x}, axis=0)
    for opset in (13, 17):
        for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"):
            old(op.lower() + "_attribute", op, opset, {"x": x}, axes=[0, -1], keepdims=0)
        old("reducesum_input", "ReduceSum", opset, {"x": x}, {"a": i64(0, -1)}, keepdims=0)
        old("reducesum_noop", "ReduceSum", opset, {"x": x}, noop_with_empty_axes=1)
    for opset in (7, 8, 9, 14, 15):
        p = {"scale": R.f(3), "b": R.f(3), "mean": R.f(3), "var": np.abs(R.f(3)) + 0.1}
        attrs = {"spatial": 1} if opset < 9 else {}
        old("batchnorm", "BatchNormalization", opset, {"x": x}, p, epsilon=1e-3, **attrs)
    for opset in (7, 8, 10, 11, 12, 19):
        for tag, attrs in (("plain", {}), ("pads", dict(pads=[1, 0, 1, 1], strides=[2, 1])), ("same", dict(auto_pad="SAME_UPPER", strides=[2, 2])),
                           ("lower", dict(auto_pad="SAME_LOWER", strides=[2, 2])), ("valid", dict(auto_pad="VALID"))):
            old("maxpool_" + tag, "MaxPool", opset, {"x": R.f(1, 2, 7, 6)}, kernel_shape=[3, 2], **attrs)
            old("averagepool_" + tag, "AveragePool", opset, {"x": R.f(1, 2, 7, 6)}, kernel_shape=[3, 2], **attrs)
            old("averagepool_include_" + tag, "AveragePool", opset, {"x": R.f(1, 2, 7, 6)}, kernel_shape=[3, 2], count_include_pad=1, **attrs)
        if opset >= 8:
            old("maxpool_indices", "MaxPool", opset, {"x": R.f(1, 2, 5, 5)}, outputs="y i", kernel_shape=[2, 2], pads=[1, 1, 0, 0])
        if opset >= 10:
            for op in ("MaxPool", "AveragePool"):
                old(op.lower() + "_ceil", op, opset, {"x": R.f(1, 1, 6, 7)}, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
                old(op.lower() + "_ceil_pads", op, opset, {"x": R.f(1, 1, 6, 7)}, kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1)
            old("maxpool_dilations", "MaxPool", opset, {"x": R.f(1, 1, 8, 8)}, kernel_shape=[3, 2], dilations=[2, 3])
        old("lppool", "LpPool", opset, {"x": R.f(1, 2, 6, 6)}, kernel_shape=[2, 3], p=3)
    for opset in (7, 9, 11, 13):
        old("gemm", "Gemm", opset, {"a": R.f(4, 2), "b": R.f(3, 4)}, {"c": R.f(3)}, transA=1, transB=1, alpha=0.5, beta=2.0)
        old("instancenorm", "InstanceNormalization", opset, {"x": x}, {"s": R.f(3), "b": R.f(3)})
        old("prelu", "PRelu", opset, {"x": x}, {"s": R.f(3, 1)})
        old("flatten", "Flatten", opset, {"x": x}, axis=2)
        old("argmax", "ArgMax", opset, {"x": x}, axis=1, keepdims=0)
        if opset >= 9:
            old("onehot", "OneHot", opset, {"i": i64(0, 2, 1)}, {"d": i64(4), "v": f32([0, 5])}, axis=-1)
        old("convtranspose", "ConvTranspose", opset, {"x": R.f(1, 2, 4, 4)}, {"w": R.f(2, 3, 3, 3)}, strides=[2, 2], output_padding=[1, 1], pads=[1, 1, 1, 1])
        old("convtranspose_same", "ConvTranspose", opset, {"x": R.f(1, 2, 4, 4)}, {"w": R.f(2, 3, 3, 3)}, strides=[2, 2], auto_pad="SAME_UPPER")
        old("convtranspose_shape", "ConvTranspose", opset, {"x": R.f(1, 2, 4, 4)}, {"w": R.f(2, 3, 3, 3)}, strides=[2, 2], output_shape=[8, 9])
        for op in ("Add", "Sub", "Mul", "Div", "Pow"):
            old(op.lower(), op, opset, {"a": np.abs(x) + 0.5}, {"b": R.f(4)})
        for op in ("Greater", "Less", "Sum", "Max", "Min", "Mean"):
            old(op.lower(), op, opset, {"a": x, "b": R.f(2, 3, 4)})
        for op in ("RNN", "GRU", "LSTM"):
            g = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
            old(op.lower(), op, opset, {"x": R.f(4, 2, 3)}, {"w": R.f(2, g * 5, 3), "r": R.f(2, g * 5, 5), "b": R.f(2, 2 * g * 5)},
                outputs="y h", hidden_size=5, direction="bidirectional")
    for linear in (0, 1):
        old("gru_reset_%d" % linear, "GRU", 7, {"x": R.f(4, 2, 3)}, {"w": R.f(1, 15, 3), "r": R.f(1, 15, 5), "b": R.f(1, 30)}, outputs="y h", hidden_size=5,
            linear_before_reset=linear)
    for opset in (9, 11, 13):
        old("gather", "Gather", opset, {"x": x}, {"i": i64(1, 0)}, axis=1)
    old("scatter", "Scatter", 9, {"x": x}, {"i": i64(0, 2, 1, 1).reshape(1, 1, 4), "u": R.f(1, 1, 4)}, axis=1)
    old("scatter", "Scatter", 10, {"x": x}, {"i": i64(0, 2, 1, 1).reshape(1, 1, 4), "u": R.f(1, 1, 4)}, axis=1)
    for opset in (18, 21):
        p = {"s": R.f(2 if opset < 21 else 4), "b": R.f(2 if opset < 21 else 4)}
        old("groupnorm", "GroupNormalization", opset, {"x": R.f(2, 4, 3)}, p, num_groups=2)
    for opset in (10, 13, 19):
        old("quantizelinear", "QuantizeLinear", opset, {"x": R.f(3, 5)}, {"s": f32(0.037), "z": np.uint8(9)})
        old("dequantizelinear", "DequantizeLinear", opset, {"x": R.u8(3, 5)}, {"s": f32(0.037), "z": np.uint8(9)})
    for opset in (13, 21):
        old("quantizelinear_axis", "QuantizeLinear", opset, {"x": R.f(3, 5)}, {"s": f32([0.03, 0.05, 0.01]), "z": np.array([1, -3, 0], np.int8)}, axis=0)
    old("roialign", "RoiAlign", 10, {"x": R.f(1, 2, 8, 8)}, {"r": f32([[0, 0, 7, 5], [1.5, 2, 6, 7.2]]), "b": i64(0, 0)}, output_height=2, output_width=3,
        spatial_scale=0.7)
    old("roialign", "RoiAlign", 16, {"x": R.f(1, 2, 8, 8)}, {"r": f32([[0, 0, 7, 5], [1.5, 2, 6, 7.2]]), "b": i64(0, 0)}, output_height=2, output_width=3,
        sampling_ratio=3)
    old("maxroipool", "MaxRoiPool", 7, {"x": R.f(1, 2, 8, 8)}, {"r": f32([[0, 0, 0, 7, 5], [0, 1, 2, 6, 7]])}, pooled_shape=[2, 3])
    for opset in (7, 10):
        old("depthtospace", "DepthToSpace", opset, {"x": R.f(1, 8, 2, 3)}, blocksize=2)
    old("globallppool", "GlobalLpPool", 7, {"x": R.f(2, 3, 4, 5)}, p=2)
    old("mish", "Mish", 18, {"x": x})
    old("reducelogsum_attribute", "ReduceLogSum", 13, {"x": np.abs(x) + 1}, axes=[0, -1], keepdims=0)
    old("lrn", "LRN", 7, {"x": R.f(1, 6, 3, 3)}, size=3, alpha=0.01, bias=2.0)
    old("eyelike", "EyeLike", 9, {"x": x[0]}, k=1, dtype=TensorProto.DOUBLE)
    old("shape_part", "Shape", 15, {"x": x}, start=-2)
    old("reshape_zero", "Reshape", 7, {"x": x}, {"s": i64(0, -1)})
    old("tile", "Tile", 7, {"x": x}, {"r": i64(2, 1, 3)})
    old("mod_float", "Mod", 10, {"x": x}, {"y0": f32([0.3, -0.2, 0.7, 0.5])}, fmod=1)
    old("cumsum", "CumSum", 11, {"x": x}, {"a": np.array(-1, np.int32)}, exclusive=1, reverse=1)
    old("isinf", "IsInf", 10, {"x": f32([1, -np.inf, np.inf, np.nan])}, detect_negative=0)


def loops():
    """Powers of two added up, with each sum kept."""
    for opset in (7, 11, 13, 16, 19, 21, 23):
        body = helper.make_graph(
            [node("Add", "total step", "total_out"), node("Add", "step step", "step_out"), node("Identity", "total_out", "kept"), node("Identity", "go", "go_out")],
            "body",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
             helper.make_tensor_value_info("total", TensorProto.FLOAT, [2]), helper.make_tensor_value_info("step", TensorProto.FLOAT, [2])],
            [helper.make_tensor_value_info("go_out", TensorProto.BOOL, []), helper.make_tensor_value_info("total_out", TensorProto.FLOAT, [2]),
             helper.make_tensor_value_info("step_out", TensorProto.FLOAT, [2]), helper.make_tensor_value_info("kept", TensorProto.FLOAT, [2])])
        old("loop", "Loop", opset, {"n": np.array(5, np.int64), "go": np.array(True), "t": f32([0, 1]), "s": f32([1, 0.5])}, outputs="total step all", body=body)


if __name__ == "__main__":
    by_hand()
    loops()
    from_vectors(os.environ["OBC_VECTORS"])
    S.write()
