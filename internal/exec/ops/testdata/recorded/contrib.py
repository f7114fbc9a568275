"""Records the com.microsoft operators that exported and quantized models use: contrib.tar.gz."""

import numpy as np

from recorder import Random, Set, f32, ms, node

# Scales are such that no exact result lies half way between two codes, where rounding is a matter of the last bit.
S = Set("contrib.tar.gz")
R = Random(1)


def codes(kind, *shape):
    return R.u8(*shape) if kind == "u8" else R.s8(*shape)


def zero(kind, v):
    return np.uint8(v + 128) if kind == "u8" else np.int8(v)


def qlinear_elementwise():
    for op in ("QLinearAdd", "QLinearMul"):
        for kind in ("u8", "s8"):
            for tag, a, b in (("same", (2, 3, 5), (2, 3, 5)), ("row", (2, 3, 5), (5,)), ("cross", (3, 1), (1, 4)), ("scalar", (), (2, 7))):
                init = {"as": f32(0.0313719), "az": zero(kind, 5), "bs": f32(0.0471193), "bz": zero(kind, -9), "cs": f32(0.1102713), "cz": zero(kind, 3)}
                S.case("%s_%s_%s" % (op.lower(), kind, tag), [ms(op, "a as az b bs bz cs cz", "y")],
                       {"a": codes(kind, *a), "b": codes(kind, *b)}, init)
    for kind in ("u8", "s8"):
        init = {"xs": f32(0.04), "xz": zero(kind, 7), "ys": f32(1 / 256), "yz": zero(kind, -128)}
        S.case("qlinearsigmoid_" + kind, [ms("QLinearSigmoid", "x xs xz ys yz", "y")], {"x": codes(kind, 300)}, init)
        init["ys"], init["yz"] = f32(0.05), zero(kind, -20)
        S.case("qlinearleakyrelu_" + kind, [ms("QLinearLeakyRelu", "x xs xz ys yz", "y", alpha=0.1)], {"x": codes(kind, 300)}, init)
        init = {"ys": f32(0.05), "yz": zero(kind, 4), "as": f32(0.02), "az": zero(kind, -3), "bs": f32(0.09), "bz": zero(kind, 10)}
        S.case("qlinearconcat_" + kind, [ms("QLinearConcat", "ys yz a as az b bs bz c ys yz", "y", axis=1)],
               {"a": codes(kind, 2, 3, 4), "b": codes(kind, 2, 2, 4), "c": codes(kind, 2, 1, 4)}, init)
        init = {"xs": f32(0.02), "xz": zero(kind, -3), "ys": f32(0.09), "yz": zero(kind, 10), "zs": f32(0.06), "zz": zero(kind, 1)}
        S.case("qlinearwhere_" + kind, [ms("QLinearWhere", "c x xs xz y ys yz zs zz", "z")],
               {"c": R.ints(0, 2, 3, 1).astype(bool), "x": codes(kind, 3, 4), "y": codes(kind, 1, 4)}, init, outputs="z")


def qlinear_pools():
    for kind in ("u8", "s8"):
        init = {"xs": f32(0.0302917), "xz": zero(kind, 6), "ys": f32(0.0211373), "yz": zero(kind, -5)}
        for last in (0, 1):
            x = codes(kind, 2, 3, 6, 5)
            S.case("qlinearglobalaveragepool_%s_%d" % (kind, last),
                   [ms("QLinearGlobalAveragePool", "x xs xz ys yz", "y", channels_last=last)], {"x": x}, init)
            for tag, attrs in (("pads", dict(kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1])),
                               ("include", dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)),
                               ("ceil", dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1))):
                S.case("qlinearaveragepool_%s_%s_%d" % (tag, kind, last),
                       [ms("QLinearAveragePool", "x xs xz ys yz", "y", channels_last=last, **attrs)], {"x": x}, init)
        S.case("nhwcmaxpool_" + kind, [ms("NhwcMaxPool", "x", "y", kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1])],
               {"x": codes(kind, 2, 6, 5, 3)})
        for axis in (-1, 1):
            for opset in (12, 13):
                init = {"xs": f32(0.05), "xz": zero(kind, 6), "ys": f32(1 / 256), "yz": zero(kind, -128)}
                # ONNX Runtime sums the exponentials in integers: a code may be off by one.
                S.case("qlinearsoftmax_%s_%d_axis_%d" % (kind, opset, axis),
                       [ms("QLinearSoftmax", "x xs xz ys yz", "y", axis=axis, opset=opset)], {"x": codes(kind, 2, 5, 3)}, init, codes=1)
    init = {"xs": f32(0.03), "xz": np.uint8(120), "ws": f32(0.02), "wz": np.int8(0), "ys": f32(0.2), "yz": np.uint8(100)}
    S.case("qlinearconv_channels_last",
           [ms("QLinearConv", "x xs xz w ws wz ys yz b", "y", channels_last=1, pads=[1, 1, 1, 1], strides=[2, 1], kernel_shape=[3, 3])],
           {"x": R.u8(1, 5, 6, 4)}, dict(init, w=R.s8(3, 4, 3, 3), b=R.ints(-500, 500, 3, dtype=np.int32)))


def qgemm():
    m, n, k = 3, 5, 7
    for tag, ta, tb, column, bias, out in (("plain", 0, 0, 0, 0, "u8"), ("bias", 0, 1, 0, 1, "u8"), ("columns", 0, 1, 1, 1, "s8"),
                                           ("float", 1, 0, 0, 1, ""), ("float_columns", 0, 1, 1, 0, "")):
        kind = "s8" if out == "s8" else "u8"
        a = codes(kind, *((k, m) if ta else (m, k)))
        init = {"as": f32(0.02), "az": zero(kind, 3), "b": R.s8(*((n, k) if tb else (k, n))),
                "bs": f32(R.r.uniform(0.01, 0.05, n)) if column else f32(0.03),
                "bz": np.zeros(n, np.int8) if column else np.int8(0)}
        names = "a as az b bs bz " + ("c" if bias else "_")
        if bias:
            init["c"] = R.ints(-3000, 3000, n, dtype=np.int32)
        if out:
            init["ys"], init["yz"] = f32(0.15), zero(out, 4)
            names += " ys yz"
        S.case("qgemm_" + tag, [ms("QGemm", names, "y", transA=ta, transB=tb, alpha=1.5 if tag == "float" else None)], {"a": a}, init)
    for tag, b, scale, z, bias in (("plain", R.s8(7, 5), f32(0.03), None, False), ("bias", R.u8(7, 5), f32(0.03), np.uint8(110), True),
                                   ("columns", R.s8(7, 5), f32(R.r.uniform(0.01, 0.05, 5)), np.zeros(5, np.int8), True)):
        init = {"b": b, "bs": scale}
        names = "x b bs"
        if z is not None:
            init["bz"] = z
        if bias:
            init["c"] = R.f(5)
        names += (" bz" if z is not None else " _") + (" c" if bias else "")
        S.case("dynamicquantizematmul_" + tag, [ms("DynamicQuantizeMatMul", names, "y")], {"x": R.f(2, 3, 7)}, init, atol=1e-5)
        init["as"], init["az"] = f32(0.021), np.uint8(130)
        names = "a b as bs az" + (" bz" if z is not None else " _") + (" c" if bias else "")
        S.case("matmulintegertofloat_" + tag, [ms("MatMulIntegerToFloat", names, "y")], {"a": R.u8(2, 3, 7)}, init, atol=1e-5)


def lstm():
    seq, batch, inner, hidden = 4, 2, 5, 3
    for dirs, way in ((1, "forward"), (1, "reverse"), (2, "bidirectional")):
        for tag, kind, columns in (("plain", "u8", False), ("columns", "s8", True)):
            n = dirs * 4 * hidden if columns else dirs
            shape = (dirs, 4 * hidden) if columns else (dirs,)
            z = np.zeros(shape, np.int8) if kind == "s8" else R.ints(100, 140, *shape).astype(np.uint8)
            init = {"w": codes(kind, dirs, inner, 4 * hidden), "r": codes(kind, dirs, hidden, 4 * hidden), "b": R.f(dirs, 8 * hidden),
                    "ws": f32(R.r.uniform(0.004, 0.02, n)).reshape(shape), "wz": z, "rs": f32(R.r.uniform(0.004, 0.02, n)).reshape(shape), "rz": z,
                    "h": R.f(dirs, batch, hidden), "c": R.f(dirs, batch, hidden)}
            S.case("dynamicquantizelstm_%s_%s" % (way, tag), [ms("DynamicQuantizeLSTM", "x w r b _ h c _ ws wz rs rz", "y yh yc", direction=way, hidden_size=hidden)],
                   {"x": R.f(seq, batch, inner)}, init, outputs="y yh yc", atol=1e-5)


def nbits():
    n, k = 6, 40
    for bits in (2, 4, 8):
        for block in (16, 32):
            blocks = -(-k // block)
            w = R.ints(0, 256, n, blocks, block * bits // 8).astype(np.uint8)
            s = f32(R.r.uniform(0.01, 0.1, n * blocks))
            packed = R.ints(0, 256, n, -(-blocks * bits // 8)).astype(np.uint8)
            cases = [("plain", "", {}), ("zeros", " z", {"z": packed}), ("bias", " _ _ c", {"c": R.f(n)})]
            if bits != 8:  # ONNX Runtime's CPU kernels have no such zero points for 8 bits
                cases.append(("floatzeros", " z", {"z": f32(R.r.uniform(0, 2**bits, (n, blocks)))}))
            if bits == 4:  # they refuse g_idx for 8 bits, and read codes of 2 bits as if they had 4
                cases.append(("gidx", " _ g", {"g": R.ints(0, blocks, blocks * block, dtype=np.int32)}))
            for tag, extra, init in cases:
                S.case("matmulnbits_%d_%d_%s" % (bits, block, tag),
                       [ms("MatMulNBits", "x w s" + extra, "y", N=n, K=k, bits=bits, block_size=block, accuracy_level=0)],
                       {"x": R.f(2, 3, k)}, dict(init, w=w, s=s), rtol=1e-4, atol=2e-5)
    S.case("gatherblockquantized_4", [ms("GatherBlockQuantized", "w i s z", "y", gather_axis=0, quantize_axis=1, block_size=16, bits=4)],
           {"i": np.array([[2, 0], [-1, 1]], np.int64)},
           {"w": R.ints(0, 256, 5, 16).astype(np.uint8), "s": f32(R.r.uniform(0.01, 0.1, (5, 2))), "z": R.ints(0, 256, 5, 1).astype(np.uint8)})
    S.case("gatherblockquantized_8", [ms("GatherBlockQuantized", "w i s", "y", gather_axis=0, quantize_axis=1, block_size=16, bits=8)],
           {"i": np.array([3, 0], np.int64)}, {"w": R.u8(5, 32), "s": f32(R.r.uniform(0.01, 0.1, (5, 2)))})


def quantize():
    for kind, dt in (("u8", np.uint8), ("s8", np.int8), ("u16", np.uint16), ("s16", np.int16)):
        z = dt(100)
        S.case("quantizelinear_" + kind, [ms("QuantizeLinear", "x s z", "y")], {"x": R.f(3, 40, scale=8)}, {"s": f32(0.05), "z": z})
        S.case("dequantizelinear_" + kind, [ms("DequantizeLinear", "x s z", "y")], {"x": R.ints(0, 127, 3, 4).astype(dt)}, {"s": f32(0.05), "z": z})
    S.case("quantizelinear_axis", [ms("QuantizeLinear", "x s z", "y", axis=0)], {"x": R.f(3, 5)},
           {"s": f32([0.01, 0.02, 0.03]), "z": np.array([1, 2, 3], np.uint8)})
    S.case("dequantizelinear_int32", [ms("DequantizeLinear", "x s z", "y")], {"x": R.ints(-900, 900, 9, dtype=np.int32)},
           {"s": f32(0.05), "z": np.int32(0)})


def activations():
    x = R.f(2, 3, 8, scale=3)
    S.case("gelu", [ms("Gelu", "x", "y")], {"x": x})
    S.case("quickgelu", [ms("QuickGelu", "x", "y", alpha=1.3)], {"x": x})
    S.case("fastgelu", [ms("FastGelu", "x", "y")], {"x": x})
    S.case("fastgelu_bias", [ms("FastGelu", "x b", "y")], {"x": x}, {"b": R.f(8)})
    S.case("biasgelu", [ms("BiasGelu", "x b", "y")], {"x": x}, {"b": R.f(8)})


def fused():
    w, b = R.f(4, 3, 3, 3), R.f(4)
    for act, params in (("Relu", None), ("LeakyRelu", [0.1]), ("Clip", [-0.5, 0.7]), ("Sigmoid", None), ("Tanh", None),
                        ("HardSigmoid", [0.2, 0.5])):
        S.case("fusedconv_" + act.lower(), [ms("FusedConv", "x w b", "y", activation=act, activation_params=params, pads=[1, 1, 1, 1])],
               {"x": R.f(1, 3, 5, 4)}, {"w": w, "b": b})
    S.case("fusedconv_sum", [ms("FusedConv", "x w b z", "y", activation="Relu", pads=[1, 1, 1, 1])],
           {"x": R.f(1, 3, 5, 4), "z": R.f(1, 4, 5, 4)}, {"w": w, "b": b})
    S.case("fusedconv_group", [ms("FusedConv", "x w", "y", activation="Relu", group=3, strides=[2, 2])], {"x": R.f(1, 3, 7, 7)}, {"w": R.f(6, 1, 3, 3)})
    S.case("fusedgemm", [ms("FusedGemm", "a b c", "y", activation="LeakyRelu", activation_alpha=0.2, alpha=0.5, beta=2.0, transB=1)],
           {"a": R.f(3, 4)}, {"b": R.f(5, 4), "c": R.f(5)})
    S.case("fusedgemm_relu", [ms("FusedGemm", "a b", "y", activation="Relu")], {"a": R.f(3, 4)}, {"b": R.f(4, 5)})
    for tag, a, b, attrs in (("plain", (2, 3, 4), (2, 4, 5), dict(alpha=0.5)), ("transA", (2, 4, 3), (2, 4, 5), dict(transA=1)),
                             ("transB", (2, 3, 4), (5, 4), dict(transB=1, alpha=2.0)), ("both", (4, 3), (5, 4), dict(transA=1, transB=1)),
                             ("batchA", (3, 2, 4), (2, 4, 5), dict(transBatchA=1)), ("batchAB", (3, 2, 4), (5, 2, 4), dict(transBatchA=1, transBatchB=1, transB=1)),
                             ("batchA_transA", (4, 2, 3), (2, 4, 5), dict(transBatchA=1, transA=1))):
        S.case("fusedmatmul_" + tag, [ms("FusedMatMul", "a b", "y", **attrs)], {"a": R.f(*a), "b": R.f(*b)})


def norms():
    x, skip, g, b, bias = R.f(2, 3, 8), R.f(2, 3, 8), R.f(8), R.f(8), R.f(8)
    init = {"g": g, "b": b, "c": bias}
    S.case("skiplayernorm", [ms("SkipLayerNormalization", "x s g b", "y", epsilon=1e-5)], {"x": x, "s": skip}, init)
    S.case("skiplayernorm_nobeta", [ms("SkipLayerNormalization", "x s g", "y")], {"x": x, "s": skip}, init)
    S.case("skiplayernorm_bias", [ms("SkipLayerNormalization", "x s g b c", "y _ _ t", epsilon=1e-5)], {"x": x, "s": skip}, init, outputs="y t")
    S.case("skiplayernorm_broadcast", [ms("SkipLayerNormalization", "x s g b", "y", epsilon=1e-5)], {"x": x, "s": R.f(1, 3, 8)}, init)
    S.case("skiplayernorm_flat", [ms("SkipLayerNormalization", "x s g b", "y", epsilon=1e-5)], {"x": R.f(3, 8), "s": R.f(3, 8)}, init)
    S.case("skipsimplified", [ms("SkipSimplifiedLayerNormalization", "x s g", "y", epsilon=1e-6)], {"x": x, "s": skip}, init)
    S.case("skipsimplified_bias", [ms("SkipSimplifiedLayerNormalization", "x s g c", "y _ _ t", epsilon=1e-6)], {"x": x, "s": skip}, init, outputs="y t")
    S.case("skipsimplified_half", [ms("SkipSimplifiedLayerNormalization", "x s g", "y", epsilon=1e-6)],
           {"x": x.astype(np.float16), "s": skip.astype(np.float16)}, {"g": g.astype(np.float16)}, rtol=2e-3, atol=2e-3)
    S.case("simplified", [node("SimplifiedLayerNormalization", "x g", "y", axis=-1, epsilon=1e-6)], {"x": x}, init)
    S.case("layernorm_contrib", [node("LayerNormalization", "x g b", "y m i", axis=-1, epsilon=1e-5)], {"x": x}, init, outputs="y m i", opset=16)
    words = {"word": R.f(20, 8), "pos": R.f(6, 8), "seg": R.f(2, 8), "g": g, "b": b}
    ids, seg, mask = R.ints(0, 20, 2, 4, dtype=np.int32), R.ints(0, 2, 2, 4, dtype=np.int32), np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.int32)
    S.case("embedlayernorm", [ms("EmbedLayerNormalization", "ids segs word pos seg g b mask", "y m e", epsilon=1e-5)],
           {"ids": ids, "segs": seg, "mask": mask}, words, outputs="y m e")
    S.case("embedlayernorm_positions", [ms("EmbedLayerNormalization", "ids _ word pos _ g b _ at", "y m", epsilon=1e-5)],
           {"ids": ids, "at": np.array([[3, 2, 1, 0]], np.int32)}, {k: v for k, v in words.items() if k != "seg"}, outputs="y m")


def rotary():
    cos, sin = R.f(10, 4), R.f(10, 4)
    for inter in (0, 1):
        S.case("rotary_3d_%d" % inter, [ms("RotaryEmbedding", "x p c s", "y", interleaved=inter)],
               {"x": R.f(2, 3, 16), "p": np.array([[0, 1, 2], [4, 5, 6]], np.int64)}, {"c": cos, "s": sin})
        S.case("rotary_offset_%d" % inter, [ms("RotaryEmbedding", "x p c s", "y", interleaved=inter)],
               {"x": R.f(2, 3, 16), "p": np.array([5], np.int64)}, {"c": cos, "s": sin})
        S.case("rotary_4d_%d" % inter, [ms("RotaryEmbedding", "x p c s", "y", interleaved=inter)],
               {"x": R.f(2, 2, 3, 8), "p": np.array([[0, 1, 2], [4, 5, 6]], np.int64)}, {"c": cos, "s": sin})
        S.case("rotary_partial_%d" % inter, [ms("RotaryEmbedding", "x p c s", "y", interleaved=inter, num_heads=2, rotary_embedding_dim=8)],
               {"x": R.f(1, 3, 24), "p": np.array([[0, 1, 2]], np.int64)}, {"c": cos, "s": sin})


def attention():
    b, s, d, n = 2, 4, 8, 2
    w, bias = R.f(d, 3 * d, scale=0.4), R.f(3 * d, scale=0.2)
    init = {"w": w, "b": bias}
    x = R.f(b, s, d)
    lens = np.array([4, 2], np.int32)
    raw = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.int32)
    tri = np.tril(np.ones((b, s, s), np.int32))
    A = lambda names, out="y", **kw: [ms("Attention", names, out, num_heads=n, **kw)]
    S.case("attention_plain", A("x w b"), {"x": x}, init)
    S.case("attention_nobias", A("x w"), {"x": x}, {"w": w})
    S.case("attention_scale", A("x w b", scale=0.3), {"x": x}, init)
    S.case("attention_lengths", A("x w b m"), {"x": x, "m": lens}, init)
    S.case("attention_bounds", A("x w b m"), {"x": x, "m": np.array([4, 3, 0, 1], np.int32)}, init)
    S.case("attention_raw", A("x w b m"), {"x": x, "m": raw}, init)
    S.case("attention_raw_filter", A("x w b m", mask_filter_value=-2.0), {"x": x, "m": raw}, init)
    S.case("attention_raw3", A("x w b m"), {"x": x, "m": tri}, init)
    S.case("attention_causal", A("x w b", unidirectional=1), {"x": x}, init)
    S.case("attention_causal_raw", A("x w b m", unidirectional=1), {"x": x, "m": raw}, init)
    S.case("attention_bias", A("x w b _ _ p"), {"x": x, "p": R.f(1, n, s, s)}, init)
    past = R.f(2, b, n, 3, d // n)
    S.case("attention_past", A("x w b _ past", "y present", unidirectional=1), {"x": x, "past": past}, init, outputs="y present")
    S.case("attention_past_raw", A("x w b m past", "y present"), {"x": x, "past": past, "m": R.ints(0, 2, b, 7, dtype=np.int32)}, init, outputs="y present")
    S.case("attention_sizes", A("x w b", qkv_hidden_sizes=[8, 8, 12]), {"x": x}, {"w": R.f(d, 28), "b": R.f(28)})
    init = {"w": R.s8(d, 3 * d), "b": bias, "xs": f32(0.02), "ws": f32(0.01), "xz": np.uint8(131), "wz": np.int8(0)}
    feeds = {"x": R.u8(b, s, d)}
    S.case("qattention", [ms("QAttention", "x w b xs ws _ xz wz", "y", num_heads=n)], feeds, init, atol=1e-5)
    S.case("qattention_mask", [ms("QAttention", "x w b xs ws m xz wz", "y", num_heads=n)], dict(feeds, m=lens), init, atol=1e-5)
    init["ws"], init["wz"] = f32(R.r.uniform(0.005, 0.02, 3 * d)), np.zeros(3 * d, np.int8)
    S.case("qattention_columns", [ms("QAttention", "x w b xs ws _ xz wz past", "y present", num_heads=n, unidirectional=1)],
           dict(feeds, past=past), init, outputs="y present", atol=1e-5)


def multihead():
    b, s, l, n, h = 2, 3, 5, 2, 4
    d = n * h
    M = lambda names, out="y", **kw: [ms("MultiHeadAttention", names, out, num_heads=n, **kw)]
    q, k, v, bias = R.f(b, s, d), R.f(b, l, d), R.f(b, l, d), {"c": R.f(3 * d)}
    lens, pad = np.array([5, 2], np.int32), np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0]], np.int32)
    S.case("mha_plain", M("q k v"), {"q": q, "k": k, "v": v})
    S.case("mha_bias", M("q k v c"), {"q": q, "k": k, "v": v}, bias)
    S.case("mha_value_size", M("q k v c"), {"q": q, "k": k, "v": R.f(b, l, 6)}, {"c": R.f(2 * d + 6)})
    S.case("mha_lengths", M("q k v _ m"), {"q": q, "k": k, "v": v, "m": lens})
    S.case("mha_padding", M("q k v _ m"), {"q": q, "k": k, "v": v, "m": pad})
    S.case("mha_padding3", M("q k v _ m"), {"q": q, "k": k, "v": v, "m": R.ints(0, 2, b, s, l, dtype=np.int32)})
    S.case("mha_attention_bias", M("q k v _ _ p", scale=0.7), {"q": q, "k": k, "v": v, "p": R.f(1, n, s, l)})
    S.case("mha_attention_bias_batch", M("q k v c m p"), {"q": q, "k": k, "v": v, "p": R.f(b, 1, s, l), "m": pad}, bias)
    S.case("mha_causal", M("q k v", unidirectional=1), {"q": q, "k": R.f(b, s, d), "v": R.f(b, s, d)})
    S.case("mha_cross_4d", M("q k v"), {"q": q, "k": R.f(b, n, l, h), "v": R.f(b, n, l, h)})
    S.case("mha_present", M("q k v c", "y pk pv"), {"q": q, "k": k, "v": v}, bias, outputs="y pk pv")
    past = {"pk0": R.f(b, n, 2, h), "pv0": R.f(b, n, 2, h)}
    S.case("mha_past", M("q k v c _ _ pk0 pv0", "y pk pv"), dict(past, q=q, k=R.f(b, s, d), v=R.f(b, s, d)), bias, outputs="y pk pv")
    S.case("mha_past_causal", M("q k v _ _ _ pk0 pv0", "y pk pv", unidirectional=1), dict(past, q=q, k=R.f(b, s, d), v=R.f(b, s, d)), outputs="y pk pv")


def group_query():
    n, nk, h = 4, 2, 16
    G = lambda names, out="y pk pv", **kw: [ms("GroupQueryAttention", names, out, num_heads=n, kv_num_heads=nk, **kw)]
    cos, sin = np.cos(R.f(16, h // 2)), np.sin(R.f(16, h // 2))
    rot = {"cos": cos, "sin": sin}

    def run(tag, b, s, past, totals, attrs=None, init=None, extra="", packed=False, bias=None, dt=np.float32, more=None, tol=1e-5):
        total = max(totals)
        feeds = {"q": R.f(b, s, (n + 2 * nk) * h if packed else n * h, dtype=dt)}
        names = "q _ _" if packed else "q k v"
        if not packed:
            feeds["k"], feeds["v"] = R.f(b, s, nk * h, dtype=dt), R.f(b, s, nk * h, dtype=dt)
        if past is not None:
            feeds["pk0"], feeds["pv0"] = R.f(b, nk, past, h, dtype=dt), R.f(b, nk, past, h, dtype=dt)
        feeds["lens"] = np.array([t - 1 for t in totals], np.int32)
        feeds["total"] = np.array(total, np.int32)
        feeds.update(more or {})
        names += (" pk0 pv0" if past is not None else " _ _") + " lens total" + extra
        S.case("gqa_" + tag, G(names, **(attrs or {})), feeds, {k: v.astype(dt) for k, v in (init or {}).items()}, outputs="y pk pv", rtol=tol, atol=tol)

    run("prompt", 2, 5, None, [5, 5])
    run("prompt_packed", 2, 5, None, [5, 5], packed=True)
    run("prompt_rotary", 1, 5, None, [5], dict(do_rotary=1), rot, " cos sin")
    run("prompt_rotary_interleaved", 1, 5, None, [5], dict(do_rotary=1, rotary_interleaved=1), rot, " cos sin")
    run("token", 2, 1, 6, [7, 7])
    run("token_rotary_packed", 2, 1, 6, [7, 7], dict(do_rotary=1), rot, " cos sin", packed=True)
    run("chunk", 1, 3, 4, [7])
    run("window", 1, 6, None, [6], dict(local_window_size=3))
    run("window_token", 1, 1, 6, [7], dict(local_window_size=3))
    run("softcap", 1, 4, None, [4], dict(softcap=2.0))
    run("scale", 1, 4, None, [4], dict(scale=0.25))
    run("smooth", 1, 4, None, [4], dict(smooth_softmax=1))
    run("half", 1, 4, None, [4], dt=np.float16, tol=4e-3)
    run("sink", 1, 4, None, [4], None, {"sink": R.f(n)}, " _ _ _ _ sink")
    run("attention_bias", 1, 4, None, [4], None, {}, " _ _ _ bias", more={"bias": R.f(1, n, 4, 4)})
    run("positions", 1, 3, None, [3], dict(do_rotary=1), rot, " cos sin at", more={"at": np.array([[2, 3, 4]], np.int64)})


for group in (qlinear_elementwise, qlinear_pools, qgemm, nbits, quantize, activations, fused, norms, rotary, attention, multihead, group_query, lstm):
    group()
S.write()
