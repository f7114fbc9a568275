#!/usr/bin/env python3
"""obc's layer solver beside the published method in PyTorch, and its Hessians beside OpenBLAS, in turns on one machine.

    go build -o obc ./cmd/obc
    python bench/solver.py --obc ./obc --rival plain_obs.py --problems layers/*.npz
    python bench/solver.py --obc ./obc --rival plain_obs.py --columns 2304 4608 --rows 8
    python bench/solver.py --obc ./obc --hessian

plain_obs.py is the plain form of the method: a batch of rows, each with its own inverse Hessian, from which a rank-one term (a block's:
of its rank) is subtracted for every weight or block that goes. Layers are .npz files with W and H, or made up of random correlated inputs.

Every step of the plain form touches the whole matrix and so takes as long as any other. Layers of --full columns or fewer it solves
whole; of wider ones --steps steps are timed, after --warm others, on one batch of --parallel rows, and the least is multiplied by their
number; the Cholesky inversion, once a layer, is added. obc solves all rows whole, inversion, grids and losses included. Both programs take turns,
and the least of --count times of each counts. Memory is obc's peak resident set, and the plain form's without Python and PyTorch. Needs Python with torch, numpy and, for --hessian, scipy.
"""
import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time

from executor import status

METHODS = ["quant4", "unstr", "24", "block4"]
CONVS = ["64x56x3", "128x28x3", "256x14x3", "512x14x3", "512x7x3", "64x28x5", "64x28x7"]
LINEARS = ["8192x384", "8192x1024", "8192x2048"]


clock = time.perf_counter


class Enough(Exception):
    pass


def load(path):
    spec = importlib.util.spec_from_file_location("plain", path)
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    return m


def rival_solver(o):
    """Seconds for all rows, one line for each line on standard input."""
    import numpy as np
    import torch
    plain = load(o.rival)
    torch.set_num_threads(o.threads), torch.set_grad_enabled(False)
    print(status("self", "VmRSS"), flush=True)
    z = np.load(o.problems[0])
    W, H = torch.tensor(z["W"]).float()[: o.rows or None], torch.tensor(z["H"]).double()
    H += o.damp * H.diag().mean() * torch.eye(len(H), dtype=torch.double)
    dead = H.diag() == 0
    H[dead, dead], W[:, dead] = 1, 0
    H, rows, d = H.float(), len(W), len(H)
    whole = d <= o.full
    argmin, seen = torch.Tensor.argmin, []

    def counted(self, *a, **k):
        if self.dim() == 2 and self.shape[0] <= o.parallel:
            seen.append(clock())
            if not whole and len(seen) > o.warm + o.steps:
                raise Enough
        return argmin(self, *a, **k)

    torch.Tensor.argmin = counted

    def run(method, W):
        Hinv = torch.cholesky_inverse(torch.linalg.cholesky(H))
        seen.append(clock())
        if method.startswith("quant"):
            plain.obq(W, Hinv, int(method[5:]), o.parallel)
        elif method == "24":
            plain.nm(W, Hinv, 2, 4, o.parallel)
        elif method == "unstr":
            plain.unstructured(W, Hinv, [0.5, 0.7, 0.9], o.parallel)
        else:
            plain.blocks(W, Hinv, int(method[5:]), [0.5, 0.7, 0.9], o.parallel)

    for line in sys.stdin:
        method = line.strip()
        seen.clear()
        start = clock()
        try:
            run(method, W if whole else W[: o.parallel])
            seconds = clock() - start
        except Enough:
            steps = {"24": d // 2, "block4": d // 4}.get(method, d)
            step = min(b - a for a, b in zip(seen[-1 - o.steps:], seen[-o.steps:]))
            seconds = seen[0] - start + step * steps * rows / min(o.parallel, rows)
        print(json.dumps(seconds), flush=True)


def rival_hessian(o):
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view
    from scipy.linalg.blas import ssyrk
    rng = np.random.default_rng(0)
    data = {}
    for line in sys.stdin:
        kind, shape = line.split()
        n = list(map(int, shape.split("x")))
        if shape not in data:
            data = {shape: rng.random((o.images, n[0], n[1], n[1]) if kind == "conv" else n, dtype=np.float32) - 0.5}
        x = data[shape]
        start = clock()
        if kind == "linear":
            # X^T is in Fortran's order: no copy
            h = ssyrk(2 / len(x), x.T, trans=0)
            h.astype(np.float64)
        else:
            c, size, k = n
            p, d = k // 2, c * k * k
            h = np.zeros((d, d), np.float32, order="F")
            per = max(1, 4096 // (size * size))
            for i in range(0, len(x), per):
                pixels = np.pad(x[i:i + per], ((0, 0), (0, 0), (p, p), (p, p))).transpose(0, 2, 3, 1)
                rows = sliding_window_view(pixels, (k, k), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3).reshape(-1, d)
                h = ssyrk(1, rows.T, beta=1, c=h, trans=0, overwrite_c=1)
            h = h.astype(np.float64) * (2 / (len(x) * size * size))
        print(json.dumps(clock() - start), flush=True)


def rival_product(o):
    import numpy as np
    a = np.random.default_rng(0).random((1024, 1024), dtype=np.float32)
    b, out = a.copy(), a.copy()
    for _ in sys.stdin:
        start = clock()
        np.dot(a, b, out=out)
        print(json.dumps(clock() - start), flush=True)


def start(args, env):
    return subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def turn(p, line=""):
    p.stdin.write(line + "\n")
    p.stdin.flush()
    return p.stdout.readline()


def processor(p):
    """Seconds that all threads of p have run."""
    total = 0
    for task in os.listdir(f"/proc/{p.pid}/task"):
        with open(f"/proc/{p.pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e9


REST = 0.2  # seconds for which a program's threads may go on waiting for work, and keep a processor busy, after its turn: OpenBLAS's do


def measure(o, p, unit="ns/op"):
    """Runs p once: its line, and the seconds."""
    before = processor(p) if o.cpu else 0
    line = turn(p)
    return line, processor(p) - before if o.cpu else metric(line, unit) / 1e9


def metric(line, unit):
    words = line.split()
    return float(words[words.index(unit) - 1])


def made_up(folder, d, rows):
    import numpy as np
    rng = np.random.default_rng(d)
    z, mix = rng.standard_normal((2 * d, d // 3), np.float32), rng.standard_normal((d // 3, d), np.float32) / (d // 3) ** 0.5
    x = z @ mix + 0.3 * rng.standard_normal((2 * d, d), np.float32)
    path = os.path.join(folder, f"random_{d}.npz")
    np.savez(path, W=rng.standard_normal((rows, d), np.float32), H=(x.T @ x) * np.float32(1 / d))
    return path


def solver(o, env):
    import numpy as np
    cpu = ["--cpu"] if o.cpu else []
    with tempfile.TemporaryDirectory() as folder:
        problems = o.problems + [made_up(folder, d, o.rows or 64) for d in o.columns]
        product = start([sys.executable, __file__, "--as", "product"] + cpu, env)
        print(f"| layer | columns | rows | method | plain form, s | obc, s | ratio | obc GFLOP/s | OpenBLAS GFLOP/s | share | plain form, MB | obc, MB |\n| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for path in problems:
            common = ["--rival", o.rival, "--problems", path, "--rows", str(o.rows), "--threads", str(o.threads), "--damp", str(o.damp),
                      "--full", str(o.full), "--steps", str(o.steps), "--warm", str(o.warm), "--parallel", str(o.parallel)] + cpu
            theirs = start([sys.executable, __file__, "--as", "solver"] + common, env)
            base = int(theirs.stdout.readline())
            shape = np.load(path)["W"].shape
            for method in o.methods:
                ours = start([o.obc, "bench", "solver", "--problems", path, "--rows", str(o.rows), "--methods", method, "--threads", str(o.threads),
                              "--damping", str(o.damp), "--count", "1000000", "--step"], env)
                turn(ours)  # the first run of each is not counted
                a, b, speed, peak = [], [], [], []
                with open(f"/proc/{theirs.pid}/clear_refs", "w") as f:
                    f.write("5")  # the peak begins anew
                for _ in range(o.count):
                    b.append(float(turn(theirs, method)))
                    time.sleep(REST)
                    for _ in range(o.more):
                        line, seconds = measure(o, ours)
                        a.append(seconds)
                        speed.append(metric(line, "GFLOP/s") * metric(line, "ns/op") / 1e9 / seconds)
                    for _ in range(o.more):
                        peak.append(2 * 1024**3 / float(turn(product)) / 1e9)
                memory = f"{(status(theirs.pid, 'VmHWM') - base) / 1e6:.0f} | {status(ours.pid, 'VmHWM') / 1e6:.0f}"
                ours.stdin.close(), ours.wait()
                rows = min(o.rows or shape[0], shape[0])
                print(f"| {os.path.basename(path)[:-4]} | {shape[1]} | {rows} | {method} | {min(b):.3g} | {min(a):.3g} | {min(b) / min(a):.0f} | {max(speed):.0f} | {max(peak):.0f} | {max(speed) / max(peak):.2f} | {memory} |", flush=True)
            theirs.stdin.close(), theirs.wait()


def hessian(o, env):
    theirs = start([sys.executable, __file__, "--as", "hessian", "--images", str(o.images)] + (["--cpu"] if o.cpu else []), env)
    print("| input | unfold + OpenBLAS ssyrk, ms | obc, ms | ratio |\n| --- | ---: | ---: | ---: |", flush=True)
    for kind, shapes in ("conv", o.convs), ("linear", o.linears):
        for shape in shapes:
            other = "--linear" if kind == "conv" else "--conv"
            ours = start([o.obc, "bench", "hessian", "--" + kind, shape, other, "", "--images", str(o.images), "--threads", str(o.threads), "--count", "1000000", "--step"], env)
            turn(ours)  # the first run, and what comes before it, do not count
            a, b = [], []
            for _ in range(o.count * o.more):
                b.append(float(turn(theirs, kind + " " + shape)) * 1e3)
                time.sleep(REST)
                a.append(measure(o, ours)[1] * 1e3)
            ours.stdin.close(), ours.wait()
            print(f"| {kind} {shape} | {min(b):.4g} | {min(a):.4g} | {min(b) / min(a):.2f} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--obc", default="./obc")
    p.add_argument("--rival", default="../shared/tools/plain_obs.py")
    p.add_argument("--problems", nargs="*", default=[])
    p.add_argument("--columns", nargs="*", type=int, default=[], help="layers to make up")
    p.add_argument("--rows", type=int, default=0, help="at most; 0: all")
    p.add_argument("--methods", nargs="+", default=METHODS)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--damp", type=float, default=0.01)
    p.add_argument("--full", type=int, default=384)
    p.add_argument("--steps", type=int, default=24)
    p.add_argument("--warm", type=int, default=4)
    p.add_argument("--parallel", type=int, default=32)
    p.add_argument("--count", type=int, default=2, help="turns")
    p.add_argument("--more", type=int, default=6, help="1 or more: runs of obc in a turn, one after the other as the steps of the plain form are")
    p.add_argument("--hessian", action="store_true", help="time Hessians instead")
    p.add_argument("--images", type=int, default=32)
    p.add_argument("--convs", nargs="*", default=CONVS, help="channels x size x kernel")
    p.add_argument("--linears", nargs="*", default=LINEARS, help="rows x columns")
    p.add_argument("--cpu", action="store_true", help="take the time of the processor, not of the clock")
    p.add_argument("--as", dest="role", help=argparse.SUPPRESS)
    o = p.parse_args()
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    env |= {"GOMAXPROCS": str(o.threads), "OPENBLAS_NUM_THREADS": str(o.threads), "OMP_NUM_THREADS": str(o.threads)}
    if o.cpu:
        global clock
        clock = time.process_time
    if o.role:
        return {"solver": rival_solver, "hessian": rival_hessian, "product": rival_product}[o.role](o)
    (hessian if o.hessian else solver)(o, env)


if __name__ == "__main__":
    main()
