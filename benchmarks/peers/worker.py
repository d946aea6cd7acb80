"""A process that holds one of PyTorch's steps and times it when asked, so that each has its own memory and all
can be timed in turns.

    worker.py '{"kind": "train", "network": "ddpm", "batch": 16}' '{"precision": "bf16", "compile": "default"}'

It prints a line of JSON when it is warmed up; then, for each line "SECONDS" it reads, the milliseconds a step of
three measurements.
"""
import json
import sys
import time

import torch

from steps import copy_of, make_step, matrix_product
from works import DEVICE, Mode, Work

GROUP = 16 if DEVICE == "cuda" else 1  # steps between two waits for the device, as in step_benchmark
WARM_UP = 20 if DEVICE == "cuda" else 2
MEASUREMENTS = 3


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def run_group(step, count):
    for _ in range(count):
        step()
    synchronize()


def measure(step, seconds):
    """Milliseconds a step, over at least `seconds`."""
    begin, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - begin < seconds:
        run_group(step, GROUP)
        steps += GROUP
    return 1e3 * (time.perf_counter() - begin) / steps


def reset_peak_memory():
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def peak_memory_mib():
    if DEVICE == "cuda":
        return torch.cuda.max_memory_reserved() / 2**20
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 2**10 for line in file if line.startswith("VmHWM"))


def machine():
    """What this machine does at best: a matrix product and a copy."""
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} CPU threads"
    row = {"device": DEVICE, "name": name, "torch": torch.__version__}
    large = DEVICE == "cuda"
    for precision in (["bf16"] if large else ["bf16", "fp32"]):
        step, flop = matrix_product(Mode(precision).dtype, 8192 if large else 2048)
        run_group(step, GROUP)
        row[f"matrix_product_{precision}_tflops"] = flop / measure(step, 0.5) / 1e9
    step, moved = copy_of(2**30 if large else 2**28)
    run_group(step, GROUP)
    row["copy_gb_per_s"] = moved / measure(step, 0.5) / 1e6
    return row


def serve(work, mode):
    torch.backends.cudnn.benchmark = True
    step = make_step(work, mode)
    run_group(step, WARM_UP)
    reset_peak_memory()
    run_group(step, 2)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        times = [measure(step, float(line) / MEASUREMENTS) for _ in range(MEASUREMENTS)]
        print(json.dumps({"ms": times, "peak_mib": peak_memory_mib()}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["machine"]:
        print(json.dumps(machine()))
    else:
        serve(Work(**json.loads(sys.argv[1])), Mode(**json.loads(sys.argv[2])))
