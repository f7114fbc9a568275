"""Records forms of operators and graphs that converters other than PyTorch's write: forms.tar.gz."""

import numpy as np
from onnx import TensorProto, helper

from recorder import Random, Set, f32, node, tensor

S = Set("forms.tar.gz")
R = Random(7)


def recurrent():
    t, b, i, h = 4, 3, 3, 2
    x = {"x": R.f(t, b, i)}
    lens = np.array([4, 2, 1], np.int32)
    acts = {"RNN": ["Tanh", "Relu", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus"]}
    needs = {"Affine": (0.7, 0.1), "LeakyRelu": (0.1, None), "ThresholdedRelu": (0.2, None), "ScaledTanh": (0.8, 1.2), "HardSigmoid": (0.3, 0.4), "Elu": (0.7, None)}

    def weights(gates, dirs, bias=True):
        w = {"w": R.f(dirs, gates * h, i), "r": R.f(dirs, gates * h, h)}
        if bias:
            w["b"] = R.f(dirs, 2 * gates * h)
        return w

    for a in acts["RNN"]:
        alpha, beta = needs.get(a, (None, None))
        S.case("rnn_" + a.lower(), [node("RNN", "x w r b", "y yh", hidden_size=h, activations=[a], activation_alpha=[alpha] if alpha is not None else None,
                                         activation_beta=[beta] if beta is not None else None)], x, weights(1, 1), outputs="y yh", opset=14)
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        out = "y yh yc" if op == "LSTM" else "y yh"
        for d, dirs in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            init = dict(weights(gates, dirs), h0=R.f(dirs, b, h), c0=R.f(dirs, b, h))
            more = " h0 c0" if op == "LSTM" else " h0"
            S.case("%s_%s" % (op.lower(), d), [node(op, "x w r b _" + more, out, hidden_size=h, direction=d)], x, init, outputs=out, opset=14)
            S.case("%s_%s_lens" % (op.lower(), d), [node(op, "x w r b lens" + more, out, hidden_size=h, direction=d)], x, dict(init, lens=lens), outputs=out, opset=7)
        S.case(op.lower() + "_clip", [node(op, "x w r", out, hidden_size=h, clip=0.4)], x, weights(gates, 1, False), outputs=out, opset=14)
    for d, dirs in (("forward", 1), ("bidirectional", 2)):
        S.case("gru_linear_" + d, [node("GRU", "x w r b lens", "y yh", hidden_size=h, direction=d, linear_before_reset=1)], x, dict(weights(3, dirs), lens=lens),
               outputs="y yh", opset=14)
        S.case("lstm_peephole_" + d, [node("LSTM", "x w r b lens _ _ p", "y yh yc", hidden_size=h, direction=d)], x, dict(weights(4, dirs), lens=lens, p=R.f(dirs, 3 * h)),
               outputs="y yh yc", opset=14)
        S.case("lstm_activations_" + d, [node("LSTM", "x w r b", "y yh yc", hidden_size=h, direction=d, activations=["HardSigmoid", "Softsign", "Relu"] * dirs,
                                              activation_alpha=[0.3] * dirs, activation_beta=[0.4] * dirs)], x, weights(4, dirs), outputs="y yh yc", opset=14)
        S.case("gru_activations_" + d, [node("GRU", "x w r b", "y yh", hidden_size=h, direction=d, activations=["Sigmoid", "ScaledTanh"] * dirs,
                                             activation_alpha=[0.9] * dirs, activation_beta=[1.1] * dirs)], x, weights(3, dirs), outputs="y yh", opset=14)
    S.case("lstm_coupled", [node("LSTM", "x w r b", "y yh yc", hidden_size=h, input_forget=1)], x, weights(4, 1), outputs="y yh yc", opset=14)


def info(name, t=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, t, shape)


def graph(nodes, inputs, outputs, inits=None):
    return helper.make_graph(nodes, "body", inputs, outputs, [tensor(v, k) for k, v in (inits or {}).items()])


def control():
    # A recognizer of voice activity with a front end for each sampling rate, nested, with weights outside of the branches.
    def front(step, out):
        return graph([node("Slice", "x z e a s%d" % step, out + "0"), node("Conv", out + "0 k", out + "1", pads=[1, 1]), node("Relu", out + "1", out)], [],
                     [info(out, shape=[None, None, None])])

    low = graph([node("Equal", "rate r8", "is8"), node("If", "is8", "n", then_branch=front(1, "u"), else_branch=front(4, "v"))], [], [info("n", shape=[None, None, None])])
    nodes = [node("Equal", "rate r16", "is16"), node("If", "is16", "f", then_branch=front(2, "t"), else_branch=low), node("ReduceMean", "f", "y", axes=[2], keepdims=0)]
    init = {"r8": np.int64(8000), "r16": np.int64(16000), "z": np.array([0]), "e": np.array([1 << 40]), "a": np.array([2]), "k": R.f(3, 1, 3)}
    init.update({"s%d" % s: np.array([s]) for s in (1, 2, 4)})
    for rate in (8000, 16000, 32000):
        S.case("if_rates_%d" % rate, nodes, {"x": R.f(2, 1, 24), "rate": np.array(rate)}, init)
    # Greedy decoding: a Loop that stops by its condition, carries a growing sequence of tokens and collects scores.
    body = graph([node("Gather", "emb last", "g", axis=0), node("Add", "g hid", "s0"), node("Tanh", "s0", "hid2"), node("MatMul", "hid2 proj", "sc"),
                  node("ArgMax", "sc", "tok", axis=1, keepdims=0), node("Concat", "ids tok", "ids2", axis=0), node("ReduceSum", "tok", "t0", keepdims=0),
                  node("Equal", "t0 eos", "stop"), node("Not", "stop", "go")],
                 [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("last", TensorProto.INT64, [1]), info("hid", shape=[1, 4]), info("ids", TensorProto.INT64, [None])],
                 [info("go", TensorProto.BOOL, []), info("tok", TensorProto.INT64, [1]), info("hid2", shape=[1, 4]), info("ids2", TensorProto.INT64, [None]), info("sc", shape=[1, 6])])
    nodes = [node("Loop", "m _ start x first", "last_ hid_ ids_ scores", body=body)]
    for eos in (0, 3, 5):
        S.case("loop_decode_%d" % eos, nodes, {"x": R.f(1, 4), "start": np.array([1])},
               {"m": np.int64(9), "emb": R.f(6, 4, scale=2), "proj": R.f(4, 6), "eos": np.int64(eos), "first": np.array([1])}, outputs="last_ hid_ ids_ scores")
    body = graph([node("Add", "st in", "st2"), node("Mul", "st2 in", "o")], [info("st", shape=[3]), info("in", shape=[3])], [info("st2", shape=[3]), info("o", shape=[3])])
    S.case("scan", [node("Scan", "s x", "st_ ys", body=body, num_scan_inputs=1)], {"s": R.f(3), "x": R.f(5, 3)}, outputs="st_ ys", opset=11)
    S.case("scan_reverse", [node("Scan", "s x", "st_ ys", body=body, num_scan_inputs=1, scan_input_directions=[1], scan_output_directions=[1], scan_input_axes=[1],
                                 scan_output_axes=[1])], {"s": R.f(3), "x": R.f(3, 5)}, outputs="st_ ys", opset=11)
    # Pieces of several lengths, padded and joined again.
    body = graph([node("SequenceAt", "seq i", "e"), node("Mul", "e two", "d"), node("SequenceInsert", "acc d", "acc2")],
                 [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), helper.make_tensor_sequence_value_info("acc", TensorProto.FLOAT, None)],
                 [info("c", TensorProto.BOOL, []), helper.make_tensor_sequence_value_info("acc2", TensorProto.FLOAT, None)])
    S.case("sequence", [node("SplitToSequence", "x cuts", "seq", axis=0), node("SequenceLength", "seq", "n"), node("SequenceEmpty", "", "none"),
                        node("Loop", "n _ none", "all", body=body), node("ConcatFromSequence", "all", "y", axis=0)], {"x": R.f(6, 2)},
           {"cuts": np.array([1, 3, 2]), "two": f32(2)}, opset=13)


def detector():
    boxes = np.sort(R.r.uniform(0, 10, (2, 12, 2, 2)), axis=2).transpose(0, 1, 3, 2).reshape(2, 12, 2, 2)
    boxes = np.stack([boxes[..., 0, 0], boxes[..., 1, 0], boxes[..., 0, 1], boxes[..., 1, 1]], -1).astype(np.float32)
    scores = R.r.uniform(0, 1, (2, 3, 12)).astype(np.float32)
    nodes = [node("NonMaxSuppression", "boxes scores k iou th", "sel"), node("Gather", "sel pick", "which", axis=1), node("GatherND", "boxes which", "best"),
             node("GatherND", "scores sel", "conf"), node("TopK", "conf three", "top at", axis=0), node("Gather", "best at", "out", axis=0)]
    S.case("nms", nodes, {"boxes": boxes, "scores": scores}, {"k": np.array([3]), "iou": f32([0.3]), "th": f32([0.4]), "pick": np.array([0, 2]), "three": np.array([3])},
           outputs="sel best conf top out", opset=11)
    S.case("nms_center", [node("NonMaxSuppression", "boxes scores k iou th", "sel", center_point_box=1)], {"boxes": boxes, "scores": scores},
           {"k": np.array([2]), "iou": f32([0.3]), "th": f32([0.4])}, outputs="sel", opset=10)
    S.case("roialign", [node("RoiAlign", "x r b", "y", output_height=3, output_width=2, sampling_ratio=2, spatial_scale=0.5)], {"x": R.f(2, 3, 8, 8)},
           {"r": f32([[1, 1, 9, 7], [0, 0, 4, 12]]), "b": np.array([0, 1])}, opset=16)
    S.case("roialign_old", [node("RoiAlign", "x r b", "y", output_height=2, output_width=2, mode="max")], {"x": R.f(1, 2, 8, 8)}, {"r": f32([[1, 1, 6, 7]]), "b": np.array([0])}, opset=10)
    S.case("scatternd", [node("ScatterND", "x i u", "y")], {"x": R.f(4, 5), "u": R.f(2, 5)}, {"i": np.array([[3], [1]])})
    S.case("nonzero_chain", [node("Greater", "x th", "m"), node("NonZero", "m", "nz"), node("Transpose", "nz", "at", perm=[1, 0]), node("GatherND", "x at", "v"),
                             node("Shape", "v", "n"), node("Squeeze", "n zero", "n0"), node("Range", "c0 n0 c1", "r"), node("Cast", "r", "rf", to=1), node("Mul", "v rf", "y")],
           {"x": R.f(3, 4)}, {"th": f32(0.1), "zero": np.array([0]), "c0": np.int64(0), "c1": np.int64(1)}, outputs="y at")


def old_forms():
    x = {"x": R.f(1, 2, 4, 6)}
    S.case("opset7_norm", [node("BatchNormalization", "x s b m v", "n"), node("Dropout", "n", "d"), node("Upsample", "d", "y", mode="nearest", scales=[1.0, 1, 2, 2])], x,
           {"s": R.f(2), "b": R.f(2), "m": R.f(2), "v": np.abs(R.f(2))}, opset=8)
    S.case("opset9_slice", [node("Slice", "x", "a", axes=[2, 3], starts=[1, -3], ends=[4, 100]), node("Clip", "a", "b", min=-0.5, max=0.5), node("Pad", "b", "c", pads=[0, 0, 1, 0, 0, 0, 0, 2]),
                            node("Squeeze", "c", "d", axes=[0]), node("Unsqueeze", "d", "e", axes=[0, 3]), node("ReduceSum", "e", "f", axes=[1], keepdims=0), node("Flatten", "f", "y", axis=1)], x, opset=9)
    S.case("opset9_upsample", [node("Upsample", "x s", "y", mode="linear")], x, {"s": f32([1, 1, 2, 1.5])}, opset=9)
    S.case("opset10_resize", [node("Resize", "x s", "y", mode="nearest")], x, {"s": f32([1, 1, 0.7, 1.3])}, opset=10)
    S.case("opset11_softmax", [node("Softmax", "x", "a", axis=1), node("LogSoftmax", "x", "b", axis=2), node("Hardmax", "x", "c", axis=3)], x, outputs="a b c", opset=11)
    S.case("opset11_resize", [node("Resize", "x roi s", "y", mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=9.0)], x,
           {"roi": f32([0, 0, 0.1, -0.2, 1, 1, 0.9, 1.2]), "s": f32([1, 1, 1.5, 0.8])}, opset=11)
    S.case("opset13_quantized", [node("QuantizeLinear", "x xs xz", "xq"), node("DequantizeLinear", "xq xs xz", "xd"), node("DequantizeLinear", "wq ws wz", "wd", axis=0),
                                 node("Conv", "xd wd", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"), node("QuantizeLinear", "r ys yz", "rq"), node("DequantizeLinear", "rq ys yz", "y")], x,
           {"xs": f32(0.0213), "xz": np.uint8(121), "wq": R.s8(3, 2, 3, 3), "ws": f32([0.011, 0.007, 0.013]), "wz": np.zeros(3, np.int8), "ys": f32(0.0317), "yz": np.uint8(0)}, opset=13)
    S.case("dynamic_quantized", [node("DynamicQuantizeLinear", "x", "q s z"), node("ConvInteger", "q w z", "c"), node("Cast", "c", "cf", to=1), node("Mul", "cf s", "y")], x, {"w": R.s8(3, 2, 3, 3)}, opset=11)
    S.case("half_casts", [node("Cast", "x", "h", to=10), node("Mul", "h k", "a"), node("ReduceMean", "a", "b", axes=[3]), node("Sigmoid", "b", "c"), node("Cast", "c", "y", to=1)], x,
           {"k": np.float16(1.7)}, rtol=2e-3, atol=1e-3, opset=13)
    S.case("wildcard_batch", [node("Shape", "x", "s"), node("Gather", "s c0", "b"), node("Unsqueeze", "b", "b1", axes=[0]), node("Concat", "b1 m1", "t", axis=0), node("Reshape", "x t", "y")], x,
           {"c0": np.int64(0), "m1": np.array([-1])}, opset=11)
    S.case("argmax_last", [node("ArgMax", "x", "a", axis=2, select_last_index=1, keepdims=0), node("ArgMin", "x", "b", axis=-2)], {"x": R.ints(0, 3, 2, 3, 4).astype(np.float32)}, outputs="a b", opset=13)
    S.case("trees", [node("CumSum", "x one", "a", exclusive=1, reverse=1), node("Trilu", "x", "b", upper=0), node("Mod", "x k", "c", fmod=1), node("IsNaN", "x", "d"), node("Einsum", "x x", "e", equation="abij,abkj->abik")], x,
           {"one": np.array(3), "k": f32(0.3)}, outputs="a b c d e", opset=14)


for group in (recurrent, control, detector, old_forms):
    group()
S.write()
