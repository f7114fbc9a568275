#!/usr/bin/env python3
"""obc's float32 matrix product beside numpy's (OpenBLAS), in turns on one machine.

    go build -o obc ./cmd/obc
    python bench/sgemm.py --obc ./obc                      # best kernels of the machine
    OBC_KERNEL=avx2 python bench/sgemm.py --obc ./obc      # AVX2 beside whatever OpenBLAS picks

Both programs take turns, one product each; the time is the fastest of --count products. OpenBLAS is told the number of threads
before it starts, and the kernel that it chose is printed when threadpoolctl is installed. Needs Python with numpy.
"""
import argparse
import os
import subprocess
import sys
import time

SHAPES = ["512x512x512", "1024x1024x1024", "2048x2048x2048",
          "16x1024x1024", "32x1024x1024", "64x1024x1024", "1024x16x1024", "1024x32x1024", "1024x64x1024",
          "1024x1024x16", "1024x1024x64"]


def rival(shape):
    import numpy as np
    m, n, k = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    a, b = (rng.random(s, dtype=np.float32) - 0.5 for s in ((m, k), (k, n)))
    c = np.empty((m, n), np.float32)
    np.dot(a, b, out=c)
    try:
        from threadpoolctl import threadpool_info
        print("".join(f"{i.get('internal_api')} {i.get('version')} {i.get('architecture')}" for i in threadpool_info() if i["user_api"] == "blas"), flush=True)
    except ImportError:
        print("OpenBLAS, kernel unknown without threadpoolctl", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter_ns()
        np.dot(a, b, out=c)
        print(time.perf_counter_ns() - start, flush=True)


def start(args, env):
    return subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def turn(p):
    p.stdin.write("\n")
    p.stdin.flush()
    return p.stdout.readline()


def main():
    if sys.argv[1:2] == ["--rival"]:
        return rival(sys.argv[2])
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--obc", default="./obc")
    p.add_argument("--shapes", nargs="+", default=SHAPES, help="rows x columns x inner size")
    p.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    p.add_argument("--count", type=int, default=30)
    o = p.parse_args()
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    head = True
    for shape in o.shapes:
        for threads in o.threads:
            ours = start([o.obc, "bench", "kernel", "--shape", shape, "--threads", str(threads), "--count", "1000000", "--step"], env)
            theirs = start([sys.executable, __file__, "--rival", shape], env | {"OPENBLAS_NUM_THREADS": str(threads)})
            kind = theirs.stdout.readline().strip()
            a, b = [], []
            for _ in range(o.count):
                line = turn(ours)
                a.append(int(line.split()[2]))
                time.sleep(0.002)
                b.append(int(turn(theirs)))
                time.sleep(0.15 if threads > 1 else 0.002)  # OpenBLAS's threads keep polling for 100 ms after a product, on the cores that obc needs
            for q in (ours, theirs):
                q.stdin.close()
                q.wait()
            if head:
                print(f"ours: {line.split('/')[1]}; numpy: {kind}\n\n| shape | threads | obc GFLOP/s | OpenBLAS GFLOP/s | ratio |\n| --- | ---: | ---: | ---: | ---: |")
                head = False
            m, n, k = map(int, shape.split("x"))
            f = 2 * m * n * k
            print(f"| {shape} | {threads} | {f / min(a):.1f} | {f / min(b):.1f} | {min(b) / min(a):.2f} |", flush=True)


if __name__ == "__main__":
    main()
