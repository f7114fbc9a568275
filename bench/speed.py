#!/usr/bin/env python3
"""How much faster a compressed file is than the dense one in ONNX Runtime: both in turns in one process, ratio of medians.

    python bench/speed.py ../shared/zoo/fmnist-resnet/model.onnx small.onnx [more.onnx ...]
    python bench/speed.py dense.onnx small.onnx --batches 1 32 --threads 2 --count 21

Above 1 the file is faster. The dense model against itself is the first line: the noise of the machine. Inputs are random
numbers; integer inputs are taken as tokens of a text, all of them counting. Symbolic dimensions but the first are --length.
Needs Python with onnxruntime and numpy.
"""
import argparse
import os
import statistics
import time

import numpy as np
import onnxruntime as ort


def session(path, threads):
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.log_severity_level = threads, 3
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def inputs(s, batch, length):
    rng = np.random.default_rng(0)
    feeds = {}
    for i in s.get_inputs():
        shape = [d if isinstance(d, int) else length for d in i.shape]
        shape[0] = batch
        if i.type == "tensor(float)":
            feeds[i.name] = rng.standard_normal(shape, dtype=np.float32)
        elif "mask" in i.name:
            feeds[i.name] = np.ones(shape, np.int64)
        elif "type" in i.name:
            feeds[i.name] = np.zeros(shape, np.int64)
        else:
            feeds[i.name] = rng.integers(1000, 20000, shape)
    return feeds


def ratio(dense, other, feeds, count):
    """Medians of count runs each, a few at a time in turns. Threads poll for 40 ms after a run: a pause keeps them off the other's cores."""
    both = ([], [])
    for _ in range(-(-count // 3)):
        for k, s in enumerate((dense, other)):
            time.sleep(0.06)
            s.run(None, feeds)
            for _ in range(3):
                start = time.perf_counter()
                s.run(None, feeds)
                both[k].append(time.perf_counter() - start)
    return statistics.median(both[0]), statistics.median(both[1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dense"), p.add_argument("files", nargs="+")
    p.add_argument("--batches", type=int, nargs="*", default=[1, 32]), p.add_argument("--threads", type=int, default=2)
    p.add_argument("--count", type=int, default=15), p.add_argument("--length", type=int, default=40)
    a = p.parse_args()
    dense = session(a.dense, a.threads)
    print("| file | bytes / dense | " + " | ".join(f"batch {b}: ms, times as fast" for b in a.batches) + " |")
    print("| --- " * (len(a.batches) + 2) + "|")
    for path in [a.dense] + a.files:
        other = dense if path == a.dense else session(path, a.threads)
        cells = []
        for b in a.batches:
            x, y = ratio(dense, other, inputs(dense, b, a.length), a.count)
            cells.append(f"{1000 * y:.2f}, {x / y:.2f}")
        print(f"| {os.path.basename(path)} | {os.path.getsize(path) / os.path.getsize(a.dense):.3f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
