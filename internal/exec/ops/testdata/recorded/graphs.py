"""Records small modules as PyTorch's two exporters write them: graphs.tar.gz. Needs torch 2.13 and onnxscript 0.7 as well."""

import io
import logging
import sys
import warnings

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F

from recorder import Set

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
S = Set("graphs.tar.gz")
D = torch.export.Dim


def strip(m):
    """Drops what exporters write for humans, and what makes files differ from run to run."""
    m.doc_string = ""
    del m.metadata_props[:]

    def graph(g):
        g.doc_string = ""
        del g.value_info[:]
        del g.metadata_props[:]
        for n in g.node:
            n.doc_string = ""
            del n.metadata_props[:]
            for a in n.attribute:
                if a.type == onnx.AttributeProto.GRAPH:
                    graph(a.g)
        for v in list(g.input) + list(g.output):
            v.doc_string = ""
            del v.metadata_props[:]

    graph(m.graph)
    for f in m.functions:
        f.doc_string = ""
        for n in f.node:
            n.doc_string = ""
            del n.metadata_props[:]
    return m


def export(name, module, args, axes=None, kinds=("legacy", "dynamo"), opset=None, rtol=1e-4, atol=1e-5, feed=None):
    """Exports a module both ways and records each; axes are the dynamic dimensions by input name; feed other inputs to run with."""
    module = module.eval()
    names = list(module.forward.__code__.co_varnames[1:1 + len(args)]) if not isinstance(module, torch.jit.ScriptModule) else ["x%d" % i for i in range(len(args))]
    for kind in kinds:
        try:
            out = io.BytesIO()
            if kind == "legacy":
                torch.onnx.export(module, args, out, dynamo=False, input_names=names, opset_version=opset or 17,
                                  dynamic_axes={n: {d: "%s_%d" % (n, d) for d in dims} for n, dims in (axes or {}).items()})
                m = onnx.load_from_string(out.getvalue())
            else:
                shapes = None
                if axes:
                    shapes = tuple({d: D.DYNAMIC for d in axes.get(n, [])} for n in names)
                p = torch.onnx.export(module, args, dynamo=True, input_names=names, dynamic_shapes=shapes, opset_version=opset or 18, verbose=False)
                m = p.model_proto
            m = strip(m)
            given = feed or args
            feeds = {v.name: given[i].detach().numpy() for i, v in enumerate(m.graph.input)}
            S.record("%s_%s" % (name, kind), m, feeds, rtol=rtol, atol=atol)
        except Exception as e:
            print("skipped %s_%s: %s" % (name, kind, str(e).strip().replace("\n", " ")[:300]), file=sys.stderr)


class Call(nn.Module):
    """A module of parts and a function."""

    def __init__(self, fn, *parts):
        super().__init__()
        self.parts, self.fn = nn.ModuleList(parts), fn

    def forward(self, x):
        return self.fn(x, *self.parts)


def many(name, fns, args, axes=None, **kw):
    """Exports several functions of one tensor as one model, without those that an exporter refuses."""
    for kind in ("legacy", "dynamo"):
        def ok(f):
            try:
                with torch.no_grad():
                    torch.onnx.export(Call(f).eval(), args, io.BytesIO(), dynamo=kind == "dynamo", opset_version=kw.get("opset") or 18, verbose=False)
                return True
            except Exception as e:
                print("%s_%s: function %d: %s" % (name, kind, fns.index(f), type(e).__name__), file=sys.stderr)
                return False
        good = [f for f in fns if ok(f)]
        export(name, Call(lambda x: tuple(f(x) for f in good)), args, axes, kinds=(kind,), **dict({"opset": 18}, **kw))


class Recurrent(nn.Module):
    def __init__(self, cell, **kw):
        super().__init__()
        self.rnn = cell(5, 4, **kw)

    def forward(self, x):
        y, h = self.rnn(x)
        return (y,) + tuple(h) if isinstance(h, tuple) else (y, h)


class Packed(nn.Module):
    """Sequences of several lengths: the exporter writes sequence_lens."""

    def __init__(self, cell):
        super().__init__()
        self.rnn = cell(5, 4, bidirectional=True, batch_first=True)

    def forward(self, x, lengths):
        p = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=True)
        y, _ = self.rnn(p)
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]


def recurrent():
    x = torch.randn(3, 6, 5)
    for cell in (nn.LSTM, nn.GRU, nn.RNN):
        n = cell.__name__.lower()
        export(n, Recurrent(cell, num_layers=2, bidirectional=True, batch_first=True), (x,), {"x": [0, 1]}, feed=(torch.randn(2, 9, 5),))
    export("rnn_relu", Recurrent(nn.RNN, nonlinearity="relu"), (x,))
    for cell in (nn.LSTM, nn.GRU):
        export("packed_" + cell.__name__.lower(), Packed(cell), (x, torch.tensor([6, 4, 1])), kinds=("legacy",))
    cell = nn.LSTMCell(5, 4)

    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x, h, c):
            out = []
            for t in range(3):
                h, c = self.cell(x[:, t], (h, c))
                out.append(h)
            return torch.stack(out, 1), h, c

    export("lstmcell", Steps(), (x, torch.randn(3, 4), torch.randn(3, 4)))


class CRNN(nn.Module):
    """An OCR recognizer: columns of a picture of any width become a sequence."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.Hardswish(),
                                  nn.MaxPool2d((2, 1)))
        self.rnn = nn.LSTM(12, 5, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 7)

    def forward(self, x):
        y = self.conv(x)
        b, c, h, w = y.shape
        y = y.reshape(b, c * h, w).permute(0, 2, 1)
        return self.head(self.rnn(y)[0]).softmax(-1)


class SVTR(nn.Module):
    """A recognizer with attention over patches."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(1, 8, 3, stride=(4, 2), padding=1)
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 5)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x):
        y = self.embed(x).flatten(2).transpose(1, 2)
        b, n, c = y.shape
        q, k, v = self.qkv(self.norm(y)).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        a = (q * (c // 2) ** -0.5) @ k.transpose(-2, -1)
        y = y + (a.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)
        return self.out(y + self.mlp(y)).log_softmax(-1)


def vision():
    export("crnn", CRNN(), (torch.randn(2, 1, 8, 16),), {"x": [0, 3]}, feed=(torch.randn(1, 1, 8, 22),))
    export("svtr", SVTR(), (torch.randn(2, 1, 8, 16),), {"x": [0, 3]}, feed=(torch.randn(1, 1, 8, 22),))
    x = torch.randn(2, 4, 6, 5)
    export("groupnorm", Call(lambda x, a, b: b(a(x)), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)), (x,), {"x": [2, 3]})
    export("convtranspose", Call(lambda x, a, b: b(F.leaky_relu(a(x), 0.1)), nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
                                 nn.ConvTranspose2d(6, 2, 4, groups=2, dilation=2)), (x,), {"x": [2, 3]}, feed=(torch.randn(2, 4, 3, 7),))
    export("convtranspose1d", Call(lambda x, a: a(x), nn.ConvTranspose1d(4, 3, 5, stride=3)), (torch.randn(1, 4, 7),), {"x": [2]})
    for mode in ("nearest", "bilinear", "bicubic"):
        kw = {} if mode == "nearest" else {"align_corners": False}
        export("upsample_" + mode, Call(lambda x, mode=mode, kw=kw: F.interpolate(x, scale_factor=2.0, mode=mode, **kw)), (x,), {"x": [2, 3]})
    export("upsample_corners", Call(lambda x: F.interpolate(x, size=(9, 11), mode="bilinear", align_corners=True)), (x,))
    export("upsample_like", Call(lambda x: F.interpolate(x[:, :, ::2, ::2], size=x.shape[2:], mode="bilinear")), (x,), {"x": [2, 3]}, feed=(torch.randn(2, 4, 7, 8),))
    export("pixelshuffle", Call(lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)), (x,))
    many("pools", [
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[1],
        lambda x: F.adaptive_max_pool2d(x, (3, 5)),
        lambda x: F.lp_pool2d(x, 2, 2)], (x,))
    many("activations", [
        lambda x: F.silu(x),
        lambda x: F.hardswish(x),
        lambda x: F.mish(x),
        lambda x: F.elu(x),
        lambda x: F.selu(x),
        lambda x: F.celu(x, 0.5),
        lambda x: F.hardsigmoid(x),
        lambda x: F.hardtanh(x),
        lambda x: F.relu6(x),
        lambda x: F.softplus(x),
        lambda x: F.softsign(x),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: F.glu(x, 1),
        lambda x: F.logsigmoid(x),
        lambda x: F.softshrink(x),
        lambda x: F.hardshrink(x),
        lambda x: F.threshold(x, 0.1, 20),
        lambda x: F.tanhshrink(x)], (x,))
    many("pads", [
        lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
        lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
        lambda x: F.pad(x, (-1, 2, 1, -1), value=3.0),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="circular")], (x,), opset=19)
    export("conv", Call(lambda x, a, b, c: c(b(a(x))), nn.Conv2d(4, 8, 3, padding=2, dilation=2, bias=False), nn.Conv2d(8, 8, (1, 3), groups=8, padding=(0, 1)),
                        nn.Conv2d(8, 2, 1, stride=2)), (x,), {"x": [0, 2, 3]}, feed=(torch.randn(1, 4, 7, 8),))
    export("conv3d", Call(lambda x, a: a(x), nn.Conv3d(2, 3, 2, stride=(1, 2, 1), padding=1)), (torch.randn(1, 2, 3, 4, 5),))
    export("conv1d", Call(lambda x, a, b: b(F.pad(a(x), (3, 0))), nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 4, 5, stride=2)), nn.Conv1d(4, 4, 4, groups=2)),
           (torch.randn(1, 2, 21),), {"x": [2]}, feed=(torch.randn(2 - 1, 2, 30),))
    grid = torch.rand(2, 3, 4, 2) * 2.4 - 1.2
    for pad in ("zeros", "border", "reflection"):
        class Sample(nn.Module):
            def forward(self, x, g, pad=pad):
                return F.grid_sample(x, g, padding_mode=pad, align_corners=False), F.grid_sample(x, g, mode="nearest", padding_mode=pad, align_corners=True)
        export("gridsample_" + pad, Sample(), (x, grid), opset=20)
    export("unfold", Call(lambda x: F.unfold(x, (2, 3), padding=1)), (x,))
    export("fold", Call(lambda x: F.fold(x, (6, 5), (2, 2))), (torch.randn(1, 8, 20),), opset=18)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.att, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)

    def forward(self, x, mask):
        y, w = self.att(x, x, x, key_padding_mask=mask)
        return self.norm(x + y), w


class Rotary(nn.Module):
    """Attention of a language model: rotary positions, fewer heads of keys, RMSNorm, SwiGLU."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(8, 8, False), nn.Linear(8, 4, False), nn.Linear(8, 4, False), nn.Linear(8, 8, False)
        self.gate, self.up, self.down = nn.Linear(8, 12, False), nn.Linear(8, 12, False), nn.Linear(12, 8, False)

    def rotate(self, x):
        n = x.shape[2]
        f = torch.arange(n, device=x.device).float()[:, None] * 100.0 ** (-torch.arange(0, 4, 2).float() / 4)
        c, s = torch.cat([f.cos(), f.cos()], -1), torch.cat([f.sin(), f.sin()], -1)
        a, b = x.chunk(2, -1)
        return x * c + torch.cat([-b, a], -1) * s

    def forward(self, ids_embedded):
        x = ids_embedded
        b, n, _ = x.shape
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        q, k, v = (l(y).view(b, n, -1, 4).transpose(1, 2) for l in (self.q, self.k, self.v))
        q, k, v = self.rotate(q), self.rotate(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, n, 8))
        y = F.rms_norm(x, (8,)) if torch.compiler.is_exporting() else x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.word, self.pos = nn.Embedding(11, 8), nn.Embedding(16, 8)
        self.enc = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)

    def forward(self, ids, mask):
        n = ids.shape[1]
        x = self.word(ids) + self.pos(torch.arange(n, device=ids.device))[None]
        y = self.enc(x, src_key_padding_mask=mask == 0)
        m = mask.unsqueeze(-1).to(y.dtype)
        return F.normalize((y * m).sum(1) / m.sum(1).clamp(min=1e-9), dim=-1)


def text():
    x = torch.randn(2, 5, 8)
    mask = torch.tensor([[False] * 5, [False, False, False, True, True]])
    export("attention", Attention(), (x, mask), {"x": [0, 1], "mask": [0, 1]})
    export("rotary", Rotary(), (x,), {"ids_embedded": [0, 1]}, feed=(torch.randn(1, 7, 8),))
    ids = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]])
    export("bert", Bert(), (ids, (ids > 0).long()), {"ids": [0, 1], "mask": [0, 1]})
    export("sdpa_bias", Call(lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], attn_mask=(x @ x.transpose(1, 2))[:, None], scale=0.3)), (x,))
    export("embeddingbag", Call(lambda x, e: e(x), nn.EmbeddingBag(11, 4, mode="mean")), (ids,))


def shapes():
    x = torch.randn(3, 4, 5)
    export("dynamic_view", Call(lambda x: x.view(x.size(0), -1, x.size(2) // 1).flatten(1)[:, : x.size(1) * 2]), (x,), {"x": [0, 1]}, feed=(torch.randn(2, 3, 5),))
    export("nonzero", Call(lambda x: (x[x > 0.3], torch.nonzero(x > 0.3), torch.where(x > 0, x, -x).sum(-1))), (x,))
    export("range_expand", Call(lambda x: torch.arange(x.size(1), device=x.device)[None, :, None].expand(x.size(0), -1, x.size(2)) + x), (x,), {"x": [0, 1, 2]},
           feed=(torch.randn(1, 6, 2),))
    export("masked_fill", Call(lambda x: x.masked_fill(torch.ones(x.size(1), x.size(2)).triu(1).bool(), float("-inf")).softmax(-1)), (x,), {"x": [1, 2]})
    many("indexing", [
        lambda x: x[:, [0, 2, 1]],
        lambda x: x[..., -1],
        lambda x: x[:, 1:-1, ::2],
        lambda x: x[:, None, 0],
        lambda x: torch.flip(x, [1]),
        lambda x: torch.roll(x, 2, 1)], (x,))

    class Put(nn.Module):
        def forward(self, x, i):
            y = x.clone()
            y[:, 1] = 7
            y[0, i] = y[1, i] + 1
            z = torch.zeros(3, 6, 5).scatter_add(1, i[None, :, None].expand(3, 4, 5), x)
            return y, z, torch.gather(x, 1, i[None, :, None].expand(3, 4, 5)), x.index_select(1, i), x.index_add(1, i, x)

    export("scatter", Put(), (x, torch.tensor([2, 0, 3, 1])))
    many("reductions", [
        lambda x: x.mean((0, 2)),
        lambda x: x.std(1),
        lambda x: x.var(1, unbiased=False),
        lambda x: x.amax(2),
        lambda x: x.argmax(1),
        lambda x: x.prod(1),
        lambda x: x.norm(dim=1),
        lambda x: x.logsumexp(2),
        lambda x: x.cumsum(1),
        lambda x: x.sort(2, descending=True)[1],
        lambda x: x.topk(2, 1)[0],
        lambda x: x.min(1)[0],
        lambda x: (x > 0).any(1),
        lambda x: (x > -3).all(2)], (x,))
    many("math", [
        lambda x: x.abs().sqrt(),
        lambda x: x.sin() + x.cos(),
        lambda x: x.exp().log1p(),
        lambda x: x.expm1(),
        lambda x: x.abs().pow(1.7),
        lambda x: x.sign(),
        lambda x: x.clamp(-0.5, 0.5),
        lambda x: x.floor() % 3,
        lambda x: x // 0.4,
        lambda x: torch.remainder(x, 0.7),
        lambda x: torch.fmod(x, 0.7),
        lambda x: x.erf(),
        lambda x: x.tan().atan(),
        lambda x: x.round(decimals=1),
        lambda x: torch.atan2(x, x + 1),
        lambda x: x.frac(),
        lambda x: x.rsqrt().isnan(),
        lambda x: x.lerp(x * 2, 0.3),
        lambda x: x.trunc(),
        lambda x: x.to(torch.int32) << 1,
        lambda x: torch.maximum(x, -x),
        lambda x: x.sinh(),
        lambda x: torch.logaddexp(x, x * 2)], (x,))
    export("einsum", Call(lambda x: (torch.einsum("bij,bkj->bik", x, x), torch.einsum("bij,bij->b", x, x), torch.einsum("bij->jb", x))), (x,), {"x": [0]})
    export("split", Call(lambda x: tuple(x.split([1, 3], 1)) + tuple(x.chunk(2, 1)) + tuple(x.unbind(0)) + (torch.stack([x, x], 1), torch.cat([x, x], -1))), (x,))
    many("tile", [
        lambda x: x.repeat(2, 1, 3),
        lambda x: x.repeat_interleave(2, 1),
        lambda x: torch.tile(x, (2,)),
        lambda x: x.unsqueeze(0).squeeze(0),
        lambda x: x.movedim(0, 2),
        lambda x: x.unflatten(2, (5, 1))], (x,))
    many("tri", [
        lambda x: x.tril(),
        lambda x: x.triu(1),
        lambda x: torch.eye(4).expand(3, 4, 4) @ x,
        lambda x: F.one_hot((x > 0).long(), 2),
        lambda x: torch.full_like(x, 2),
        lambda x: torch.diagonal(x, dim1=1, dim2=2)], (x,))
    many("linalg", [
        lambda x: x @ x.transpose(1, 2),
        lambda x: torch.bmm(x, x.transpose(1, 2)),
        lambda x: torch.addmm(x[0, :, :4], x[0], x[1].T[:, :4]),
        lambda x: torch.baddbmm(torch.ones(3, 4, 4), x, x.transpose(1, 2), beta=0.5, alpha=2.0),
        lambda x: torch.cdist(x, x),
        lambda x: torch.outer(x[0, 0], x[1, 1]),
        lambda x: F.cosine_similarity(x, x.flip(1), dim=2)], (x,))
    many("losses", [
        lambda x: F.layer_norm(x, (4, 5)),
        lambda x: F.softmin(x, 1),
        lambda x: F.normalize(x, dim=1),
        lambda x: F.local_response_norm(x, 3),
        lambda x: F.pairwise_distance(x[0], x[1]),
        lambda x: F.cross_entropy(x.transpose(1, 2).reshape(-1, 4), torch.arange(15) % 4)], (x,))


class Boxes(nn.Module):
    """The end of a detector: boxes of anchors, the best of each class."""

    def forward(self, x):
        b, c, h, w = x.shape
        gy, gx = torch.meshgrid(torch.arange(h, device=x.device), torch.arange(w, device=x.device), indexing="ij")
        grid = torch.stack((gx, gy), 2).view(1, h, w, 2).float()
        y = x.view(b, 2, c // 2, h, w).permute(0, 1, 3, 4, 2).sigmoid()
        xy = (y[..., :2] * 2 - 0.5 + grid) * 8
        wh = (y[..., 2:4] * 2) ** 2 * torch.tensor([[10.0, 13], [16, 30]]).view(1, 2, 1, 1, 2)
        boxes = torch.cat((xy - wh / 2, xy + wh / 2), -1).reshape(b, -1, 4)
        scores = (y[..., 4:5] * y[..., 5:]).reshape(b, -1, c // 2 - 5)
        top, at = scores.max(-1)[0].topk(5, 1)
        return boxes.gather(1, at.unsqueeze(-1).expand(-1, -1, 4)), top, scores.argmax(-1)


@torch.jit.script
def halve(x: torch.Tensor, n: int):
    for i in range(n):
        if bool(x.sum() > 4.0):
            x = x / 2.0
        else:
            x = x + 1.0
    return x


@torch.jit.script
def collect(x: torch.Tensor):
    out = []
    h = torch.zeros(x.size(1))
    for t in range(x.size(0)):
        h = torch.tanh(h * 0.5 + x[t])
        out.append(h)
    return torch.stack(out), h


class Branch(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))


def control():
    export("boxes", Boxes(), (torch.randn(2, 16, 3, 4),), {"x": [0, 2, 3]}, feed=(torch.randn(1, 16, 5, 2),))

    class Halve(nn.Module):
        def forward(self, x):
            return halve(x, 5)

    export("loop_if", Halve(), (torch.rand(3, 2) * 4,), kinds=("legacy",))

    class Collect(nn.Module):
        def forward(self, x):
            return collect(x)

    export("loop_collect", Collect(), (torch.randn(4, 3),), {"x": [0]}, kinds=("legacy",), feed=(torch.randn(6, 3),))
    for sign in (1, -1):
        export("cond_%s" % ("yes" if sign > 0 else "no"), Branch(), (torch.ones(2, 3) * sign,), kinds=("dynamo",))


def small_floats():
    for dt, tag in ((torch.float16, "half"),):  # ONNX Runtime has no convolution of doubles
        x = torch.randn(1, 3, 8, 8).to(dt)
        m = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5), nn.LayerNorm(5), nn.Softmax(-1)).eval().to(dt)
        tol = 4e-3 if dt == torch.float16 else 1e-10
        export("net_" + tag, Call(lambda x, m: m(x), m), (x,), {"x": [0]}, rtol=tol, atol=tol)
    many("casts", [
        lambda x: x.half().float() * 3,
        lambda x: x.to(torch.int8),
        lambda x: x.bool(),
        lambda x: (x * 40).to(torch.uint8).float(),
        lambda x: x.double().sum(),
        lambda x: x.long() % 3,
        lambda x: x.to(torch.bfloat16).float()],
           (torch.rand(2, 9) * 6,))


torch.manual_seed(0)
for group in (recurrent, vision, text, shapes, control, small_floats):
    group()
S.write()
