#!/usr/bin/env python3
"""obc's executor beside ONNX Runtime: whole models, in turns on one machine.

    go build -o obc ./cmd/obc
    python bench/executor.py --obc ./obc --shared ../shared
    python bench/executor.py --obc ./obc --models minilm --batches 1 --threads 2 --count 30
    python bench/executor.py --obc ./obc --models minilm --file minilm-8w8a.onnx     # a quantized file of that model

For each model, batch size and number of threads both programs load the model once and then take turns, one run each (--burst:
several in a row, as a loop over samples has them), so that a change in the machine's load meets both. The time is the fastest run, or the median with --median; --cpu compares the
CPU time of one thread instead, which other programs on the machine disturb less. Memory is the
process's largest resident set; the interpreter that ONNX Runtime lives in is measured before the model is loaded and
taken off. Output is a Markdown table. Needs Python with onnxruntime and numpy; Linux for the memory.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

MODELS = {
    "fmnist-resnet": ("fmnist-resnet/model.onnx", "fmnist-resnet/calib.npz"),
    "efficientnet-lite0": ("efficientnet-lite0/model.onnx", None),
    "minilm": ("minilm/model.onnx", None),
}
TOKENS = 40


def status(pid, key):
    """Bytes of a memory figure of a process."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def rival(model, data, batch, threads):
    """Runs in a process of its own: times one run for each line of standard input."""
    import numpy as np
    base = status("self", "VmRSS")
    import onnxruntime as ort
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads = threads, 1
    s = ort.InferenceSession(model, o, providers=["CPUExecutionProvider"])
    arrays = np.load(data)
    feeds = {i.name: arrays[i.name][:batch] for i in s.get_inputs()}
    s.run(None, feeds)
    print(base, flush=True)
    for _ in sys.stdin:
        start, cpu = time.perf_counter_ns(), time.process_time_ns()
        s.run(None, feeds)
        print(time.perf_counter_ns() - start, time.process_time_ns() - cpu, flush=True)


def inputs(name, shared, folder, batch):
    """The model's inputs as an .npz file with batch samples."""
    import numpy as np
    path = os.path.join(folder, f"{name}-{batch}.npz")
    rng = np.random.default_rng(0)
    if name == "efficientnet-lite0":
        np.savez(path, input=rng.standard_normal((batch, 3, 224, 224), dtype=np.float32))
    elif name == "minilm":
        np.savez(path, input_ids=rng.integers(1000, 30000, (batch, TOKENS)), attention_mask=np.ones((batch, TOKENS), np.int64),
                 token_type_ids=np.zeros((batch, TOKENS), np.int64))
    else:
        given = np.load(os.path.join(shared, "zoo", MODELS[name][1]))
        np.savez(path, **{k: given[k][:batch] for k in given.files})
    return path


class Program:
    """A process that runs once for each line it gets."""

    def __init__(self, args, parse, first=False):
        self.p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.parse, self.times = parse, []
        self.base = int(self.p.stdout.readline()) if first else 0

    def turn(self, burst):
        self.p.stdin.write("\n" * burst)
        self.p.stdin.flush()
        for _ in range(burst):
            line = self.p.stdout.readline()
            if not line:
                sys.exit(f"{' '.join(self.p.args)}: ended early")
            self.times.append(self.parse(line))

    def end(self):
        self.peak = status(self.p.pid, "VmHWM") - self.base
        self.p.stdin.close()
        self.p.wait()


def compare(o, name, batch, threads, folder):
    model = o.file or os.path.join(o.shared, "zoo", MODELS[name][0])
    data = inputs(name, o.shared, folder, batch)
    ours = Program([o.obc, "bench", "model", model, "--input", data, "--batch", str(batch), "--threads", str(threads),
                    "--count", "1000000", "--step", "--quiet"], lambda s: int(s.split()[4 if o.cpu else 2]))
    theirs = Program([sys.executable, __file__, "--rival", model, data, str(batch), str(threads)], lambda s: int(s.split()[1 if o.cpu else 0]), True)
    for _ in range(o.count):
        for p in (ours, theirs):
            p.turn(o.burst)
            time.sleep(0.06)  # ONNX Runtime's threads keep polling for 40 ms after a run, on the cores that the other needs
    ours.end()
    theirs.end()
    pick = statistics.median if o.median else min
    a, b = pick(ours.times) / 1e6, pick(theirs.times) / 1e6
    return dict(model=name, batch=batch, threads=threads, ours=a, theirs=b, speed=b / a,
                ours_mb=ours.peak / 1e6, theirs_mb=theirs.peak / 1e6, memory=ours.peak / theirs.peak)


def main():
    if sys.argv[1:2] == ["--rival"]:
        model, data, batch, threads = sys.argv[2:]
        return rival(model, data, int(batch), int(threads))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--obc", default="./obc")
    p.add_argument("--shared", default="../shared", help="folder that holds zoo/")
    p.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    p.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    p.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    p.add_argument("--count", type=int, default=20, help="runs of each")
    p.add_argument("--burst", type=int, default=1, help="runs in a row at each turn")
    p.add_argument("--median", action="store_true", help="compare medians in place of the fastest runs")
    p.add_argument("--cpu", action="store_true", help="CPU time on one thread in place of time")
    p.add_argument("--file", help="run this file in place of the one model of --models")
    o = p.parse_args()
    if o.file and len(o.models) != 1:
        p.error("--file needs exactly one of --models")
    if o.cpu:
        o.threads = [1]
    print("| model | batch | threads | obc ms | ONNX Runtime ms | speed | obc MB | ONNX Runtime MB | memory |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in o.models:
            for batch in o.batches:
                for threads in o.threads:
                    r = compare(o, name, batch, threads, folder)
                    print("| {model} | {batch} | {threads} | {ours:.2f} | {theirs:.2f} | {speed:.2f} | {ours_mb:.0f} | {theirs_mb:.0f} | {memory:.2f} |".format(**r), flush=True)


if __name__ == "__main__":
    main()
