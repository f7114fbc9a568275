#!/usr/bin/env python3
"""The accuracy table: compress the zoo's models row by row, score the files in ONNX Runtime, print a Markdown table.

    go build -o obc ./cmd/obc
    python bench/accuracy.py --obc ./obc --shared ../shared                # all rows, resumed from bench/out/results.jsonl
    python bench/accuracy.py --obc ./obc --shared ../shared --rows 'fm/*' 'eff/w8*'
    python bench/accuracy.py --table                                       # only print what was measured

Each row is one `obc compress` and one `zoo/evaluate.py`; the command and the version of obc are kept in the results, and a row whose flags
have changed since is measured anew. Seconds and peak RSS are those of the obc process. Needs Python with onnxruntime, numpy and pillow.
"""
import argparse
import datetime
import fnmatch
import json
import os
import platform
import shlex
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))

FM = "fmnist-resnet"
EFF = "efficientnet-lite0"
LM = "minilm"
PICTURES = ["--preprocess", "mean: [127], std: [128]"]

# name: (model, file, flags, {figure: reference}, where the reference comes from)
# Shares of zeros 0.5217, 0.6862 and 0.9015 are 1 - 0.9^7, 1 - 0.9^11 and 1 - 0.9^22: the reference's levels.
ROWS = {}


def row(name, model, flags, want, source="", file="model.onnx"):
    ROWS[name] = (model, file, flags.split() + (PICTURES if model == EFF else []), want, source)


def fm(name, flags, top1, file="model.onnx"):
    row("fm/" + name, FM, flags, {"top1": top1}, "the authors' method", file)


A4 = "--weights int4 --activations int4 --range mse"
fm("2:4", "--nm 2:4", 93.93)
fm("2:4 raw", "--nm 2:4 --correction none", 93.85)
fm("2:4 bn", "--nm 2:4", 93.93, "model_bn.onnx")
fm("2:4 magnitude", "--nm 2:4 --method rtn", 93.55)
fm("w8", "--weights int8", 94.00)
fm("w8 rtn", "--weights int8 --method rtn", 94.00)
fm("w4", "--weights int4", 93.98)
fm("w4 rtn", "--weights int4 --method rtn", 93.96)
fm("w3", "--weights int3", 93.92)
fm("w3 rtn", "--weights int3 --method rtn", 93.81)
fm("w2", "--weights int2", 93.56)
fm("w2 rtn", "--weights int2 --method rtn", 92.42)
fm("w2 bn", "--weights int2 --keep-batchnorm --correction batchnorm", 93.44, "model_bn.onnx")
fm("8w8a", "--weights int8 --activations int8", 93.94)
fm("8w8a bn", "--weights int8 --activations int8", 93.94, "model_bn.onnx")
fm("4w4a", A4, 93.13)
fm("2:4 8w8a", "--nm 2:4 --weights int8 --activations int8", 93.94)
fm("2:4 refined", "--nm 2:4 --refine", 93.93)
fm("w4 refined", "--weights int4 --search loss --refine", 93.98)
fm("w3 refined", "--weights int3 --search loss --refine", 93.92)
fm("2:4 8w8a refined", "--nm 2:4 --weights int8 --activations int8 --refine", 93.94)
fm("2:4 4w4a", "--nm 2:4 " + A4, 93.14)
fm("unstructured 0.5217", "--sparsity 0.5217", 93.89)
fm("unstructured 0.6862", "--sparsity 0.6862", 93.76)
fm("unstructured 0.9015", "--sparsity 0.9015", 89.68)
fm("magnitude 0.5", "--sparsity 0.5 --method rtn", 93.79)
fm("magnitude 0.5 bn", "--sparsity 0.5 --method rtn --keep-batchnorm", 93.79, "model_bn.onnx")
fm("magnitude 0.7", "--sparsity 0.7 --method rtn", 92.91)
fm("magnitude 0.7 bn", "--sparsity 0.7 --method rtn --keep-batchnorm", 92.91, "model_bn.onnx")
fm("magnitude 0.9", "--sparsity 0.9 --method rtn", 25.32)
fm("magnitude 0.9 bn", "--sparsity 0.9 --method rtn --keep-batchnorm", 25.32, "model_bn.onnx")
fm("block-4 0.5217", "--block 4 --sparsity 0.5217", 93.70)
fm("block-4 0.6862", "--block 4 --sparsity 0.6862", 93.43)
for k, u, b in ((2, 93.92, 93.78), (3, 93.85, 93.45), (4, 93.71, 93.10)):
    fm(f"unstructured flops={k}x", f"--sparsity 0.5 --target flops={k}x", u)
    fm(f"block-4 flops={k}x", f"--block 4 --sparsity 0.5 --target flops={k}x", b)
for k, t in ((8, 93.97), (10, 93.92), (12, 93.90), (14, 93.91)):
    fm(f"mixed bops={k}x", f"--nm 2:4 {A4} --target bops={k}x", t)

eff = lambda name, flags, want, source: row("eff/" + name, EFF, flags, want, source)
OURS = "exact method, bias correction"
DENSE = "--exclude _conv_stem*,*_depthwise_conv*,_blocks.1._expand_conv*,_blocks.2._expand_conv*,_blocks.3._expand_conv*"
eff("w8", "--weights int8", {"agreement": 97.86, "snr_db": 32.19}, OURS)
eff("w8 bias", "--weights int8 --correction bias", {"agreement": 97.86, "snr_db": 32.19}, OURS)
eff("w8 rtn", "--weights int8 --method rtn --correction none", {"agreement": 86.79, "snr_db": 17.99}, "rounding, min-max")
eff("w4", "--weights int4", {"agreement": 66.79, "snr_db": 8.05}, OURS)
eff("w4 bias", "--weights int4 --correction bias", {"agreement": 66.79, "snr_db": 8.05}, OURS)
eff("w4 rtn", "--weights int4 --method rtn --correction none", {"agreement": 7.14, "snr_db": -1.80}, "rounding, min-max")
eff("w3", "--weights int3", {"agreement": 41.43, "snr_db": 3.45}, OURS)
eff("w3 bias", "--weights int3 --correction bias", {"agreement": 41.43, "snr_db": 3.45}, OURS)
eff("unstructured 0.5", "--sparsity 0.5 " + DENSE, {"agreement": 48.21, "snr_db": 5.65}, OURS)
eff("2:4", "--nm 2:4 " + DENSE, {"agreement": 24.64, "snr_db": 2.29}, OURS)
eff("block-4 0.5", "--block 4 --sparsity 0.5 " + DENSE, {"agreement": 9.64, "snr_db": 0.61}, OURS)
eff("w4 refined", "--weights int4 --search loss --refine", {"agreement": 66.79, "snr_db": 8.05}, OURS)
eff("w3 refined", "--weights int3 --search loss --refine", {"agreement": 41.43, "snr_db": 3.45}, OURS)
eff("2:4 refined", "--nm 2:4 --refine " + DENSE, {"agreement": 24.64, "snr_db": 2.29}, OURS)
eff("8w8a", "--weights int8 --activations int8", {"agreement": 83.93, "snr_db": 15.16}, "onnxruntime 1.32, entropy / percentile")
eff("2:4 8w8a", "--recipe bench/recipes/efficientnet-24-w8a8.yaml", {}, "")
eff("2:4 8w8a refined", "--recipe bench/recipes/efficientnet-24-w8a8.yaml --refine", {}, "")

lm = lambda name, flags, want, source: row("lm/" + name, LM, flags, want, source)
lm("unstructured 0.5", "--sparsity 0.5", {"recall1": 18.55, "recall10": 56.45, "cosine": 0.9308}, "onnxsim 0.8.1 SparseGPT")
lm("magnitude 0.5", "--sparsity 0.5 --method rtn --correction none", {"recall1": 17.85, "recall10": 52.05, "cosine": 0.7565}, "numpy, magnitude")
lm("2:4", "--nm 2:4", {"recall1": 15.05, "recall10": 46.75, "cosine": 0.6423}, "numpy, magnitude")
lm("block-4 0.5", "--block 4 --sparsity 0.5", {}, "")
lm("8w8a", "--weights int8 --activations int8", {"recall1": 21.50, "recall10": 58.10, "cosine": 0.9979}, "nncf 3.4 int8 transformer")
lm("8w8a equalized 0.5", "--weights int8 --activations int8 --equalize 0.5", {"recall1": 21.50, "recall10": 58.10, "cosine": 0.9979}, "nncf 3.4 int8 transformer")
lm("8w8a plain", "--weights int8 --activations int8 --equalize 0", {"recall1": 21.50, "recall10": 58.10, "cosine": 0.9979}, "nncf 3.4 int8 transformer")
lm("w4", "--weights int4", {"recall1": 20.25, "recall10": 57.20, "cosine": 0.9393}, "numpy, rounding")
lm("w4 g32", "--weights int4 --group 32", {"recall1": 21.20, "recall10": 57.90, "cosine": 0.9876}, "onnxsim 0.8.1 GPTQ, group 32")
lm("w3", "--weights int3", {"recall1": 17.90, "recall10": 52.25, "cosine": 0.7586}, "numpy, rounding")
lm("2:4 8w8a", "--nm 2:4 --weights int8 --activations int8", {}, "")
lm("2:4 refined", "--nm 2:4 --refine", {"recall1": 15.05, "recall10": 46.75, "cosine": 0.6423}, "numpy, magnitude")
lm("w4 refined", "--weights int4 --search loss --refine", {"recall1": 20.25, "recall10": 57.20, "cosine": 0.9393}, "numpy, rounding")
lm("w3 refined", "--weights int3 --search loss --refine", {"recall1": 17.90, "recall10": 52.25, "cosine": 0.7586}, "numpy, rounding")
lm("2:4 8w8a refined", "--nm 2:4 --weights int8 --activations int8 --refine", {}, "")

PERCENT = {"top1", "agreement", "recall1", "recall10", "top5_contains"}


def measured(command, log):
    """Runs a command; returns its exit code, seconds and peak RSS in MiB."""
    start = time.time()
    with open(log, "w") as f:
        p = subprocess.Popen(command, cwd=os.path.dirname(HERE), stdout=f, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(p.pid, 0)
    return os.waitstatus_to_exitcode(status), time.time() - start, usage.ru_maxrss / 1024


def version(obc):
    p = subprocess.run([obc, "version"], capture_output=True, text=True)
    return p.stdout.strip()


def run_row(name, a, out):
    model, file, flags, want, source = ROWS[name]
    home = os.path.join(a.shared, "zoo", model)
    calib = os.path.join(home, "calib" if model == EFF else "calib.npz")
    stem = os.path.join(out, name.replace("/", "-").replace(" ", "_").replace(":", ""))
    command = [a.obc, "compress", os.path.join(home, file), "--calib", calib, *flags, "--threads", str(a.threads), "--quiet", "-o", stem + ".onnx"]
    result = {"row": name, "flags": flags, "version": version(a.obc), "command": shlex.join(command), "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
              "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"}
    code, seconds, rss = measured(command, stem + ".log")
    result |= {"exit": code, "seconds": round(seconds, 1), "rss_mib": round(rss)}
    if code == 0:
        score = [sys.executable, os.path.join(a.shared, "zoo", "evaluate.py"), model, stem + ".onnx", "--threads", str(a.threads)]
        if model != EFF:
            score += ["--dense", os.path.join(home, file)]
        p = subprocess.run(score, capture_output=True, text=True)
        if p.returncode == 0:
            result["score"] = json.loads(p.stdout.splitlines()[-1])
        else:
            result["error"] = p.stderr.strip().splitlines()[-1]
        if not a.keep:
            os.remove(stem + ".onnx")
    else:
        with open(stem + ".log") as f:
            result["error"] = " ".join(f.read().split())[-300:]
    return result


def table(results):
    """One Markdown table a model: ours, the reference, their difference, and what it cost."""
    for model in (FM, EFF, LM):
        rows = [n for n in ROWS if ROWS[n][0] == model and n in results]
        if not rows:
            continue
        figures = {FM: ["top1", "agreement", "snr_db"], EFF: ["agreement", "top5_contains", "snr_db"], LM: ["recall1", "recall10", "cosine"]}[model]
        print(f"\n### {model}\n")
        print("| row | flags | " + " | ".join(f"{f} (reference)" for f in figures) + " | reference | seconds | peak RSS MiB | bytes |")
        print("| --- " * (len(figures) + 6) + "|")
        for n in rows:
            r, (_, _, flags, want, source) = results[n], ROWS[n]
            cells = []
            for f in figures:
                if "score" not in r:
                    cells.append("failed: " + r.get("error", "")[:80])
                    continue
                scale = 100 if f in PERCENT else 1
                digits = 4 if f == "cosine" else 2
                text = "-" if f not in r["score"] else f"{scale * r['score'][f]:.{digits}f}"
                cells.append(text + (f" ({want[f]:.{digits}f})" if f in want else ""))
            print(f"| {n.split('/', 1)[1]} | `{shlex.join(flags)}` | " + " | ".join(cells) +
                  f" | {source or '-'} | {r['seconds']} | {r['rss_mib']} | {r.get('score', {}).get('bytes', '-')} |")
    print()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--obc", default="./obc"), p.add_argument("--shared", default="../shared")
    p.add_argument("--rows", nargs="*", default=["*"], help="globs over row names"), p.add_argument("--list", action="store_true")
    p.add_argument("--out", default=os.path.join(HERE, "out")), p.add_argument("--threads", type=int, default=2)
    p.add_argument("--again", action="store_true", help="measure rows again that have a result"), p.add_argument("--keep", action="store_true", help="keep the compressed files")
    p.add_argument("--budget", type=float, help="start no row after so many minutes"), p.add_argument("--table", action="store_true", help="only print the table")
    a = p.parse_args()
    a.obc, a.shared, a.out = map(os.path.abspath, (a.obc, a.shared, a.out))
    chosen = [n for n in ROWS if any(fnmatch.fnmatchcase(n, g) for g in a.rows)]
    if a.list:
        for n in chosen:
            print(f"{n:28} {shlex.join(ROWS[n][2])}")
        return
    if not chosen:
        sys.exit(f"no row matches {a.rows}; --list shows all")
    os.makedirs(a.out, exist_ok=True)
    path = os.path.join(a.out, "results.jsonl")
    results = {}
    if os.path.exists(path):
        with open(path) as f:
            results = {r["row"]: r for r in map(json.loads, f)}
    start, begun = time.time(), 0
    for n in [] if a.table else chosen:
        if not a.again and "score" in results.get(n, {}) and results[n].get("flags", ROWS[n][2]) == ROWS[n][2]:
            continue
        if a.budget and time.time() - start > 60 * a.budget:
            print(f"stopped after {a.budget} minutes; the same command goes on", file=sys.stderr)
            break
        begun += 1
        results[n] = r = run_row(n, a, a.out)
        with open(path, "a") as f:
            f.write(json.dumps(r) + "\n")
        print(f"{n:28} {r['seconds']:7.1f} s {r['rss_mib']:6d} MiB  {json.dumps(r.get('score', r.get('error')))}", file=sys.stderr, flush=True)
    if begun:
        print(f"{begun} rows in {(time.time() - start) / 60:.1f} minutes", file=sys.stderr)
    table({n: results[n] for n in chosen if n in results})
    failed = [n for n in chosen if n in results and "score" not in results[n]]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
