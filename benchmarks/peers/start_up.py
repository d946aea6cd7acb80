"""From an empty process to a picture: `ddpm sample` beside diffusers' pipeline, on the CPU, with one small model.

    start_up.py DDPM     prints the row as JSON; for people it speaks on stderr

A process of its own, small, because a new process's peak of memory counts from its parent's.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

REPETITIONS, STEPS, TARGET = 7, 10, 10.0
FLOOR = "floor: loading LibTorch (ddpm --version)"
MAKE_MODEL = """
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
unet = UNet2DModel(sample_size=32, block_out_channels=(32, 64, 64), layers_per_block=1, norm_num_groups=8,
                   down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
                   up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"))
print(sum(p.numel() for p in unet.parameters()))
DDIMPipeline(unet, DDIMScheduler()).save_pretrained("{folder}")
"""
DIFFUSERS = """
import torch
from diffusers import DDIMPipeline
pipeline = DDIMPipeline.from_pretrained("{folder}")
pipeline.set_progress_bar_config(disable=True)
pipeline(num_inference_steps={steps}, generator=torch.Generator().manual_seed(0)).images[0].save("{image}")
"""


def run(command):
    """Milliseconds and peak resident memory in MiB of a process that must succeed."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        raise SystemExit(f"{command}: {errors.decode()[-500:]}")
    return 1e3 * (time.perf_counter() - begin), usage.ru_maxrss / 2**10


def say(line):
    print(line, file=sys.stderr, flush=True)


def start_up_row(ddpm):
    with tempfile.TemporaryDirectory(prefix="ddpm-start-up-") as place:
        folder, image = pathlib.Path(place, "model"), pathlib.Path(place, "image.png")
        parameters = subprocess.run([sys.executable, "-c", MAKE_MODEL.format(folder=folder)], check=True, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()
        sample = [ddpm, "sample", str(folder), "-n", "1", "--steps", str(STEPS), "-q", "-o", str(image)]
        commands = {
            "ddpm.cpp sample": sample,
            "ddpm.cpp sample --precision auto": [*sample, "--precision", "auto"],
            "diffusers": [sys.executable, "-c", DIFFUSERS.format(folder=folder, image=image, steps=STEPS)],
            FLOOR: [ddpm, "--version"]}
        results = {name: {"ms": [], "peak_mib": 0.0} for name in commands}
        for repetition in range(REPETITIONS + 1):
            for name, command in commands.items():
                ms, peak_mib = run(command)
                if repetition > 0:  # the first reads the files from disk
                    results[name]["ms"].append(ms)
                    results[name]["peak_mib"] = max(results[name]["peak_mib"], peak_mib)
    say(f"start-up: process to PNG, {parameters} parameters, {STEPS} steps, one image")
    for name, result in results.items():
        say(f"  {name:44}{statistics.median(result['ms']):9.1f} ms  [{min(result['ms']):.1f}, "
            f"{max(result['ms']):.1f}]{result['peak_mib']:8.0f} MiB")
    ours, theirs, floor = (statistics.median(results[name]["ms"]) for name in ("ddpm.cpp sample", "diffusers", FLOOR))
    say(f"  => {theirs / ours:.2f}x of diffusers, wanted {TARGET}x; loading LibTorch takes "
        f"{100 * floor / ours:.0f}% of our time\n")
    return {"work": "start-up", "ours": "ddpm.cpp sample", "ours_ms": ours, "peer": "diffusers", "peer_ms": theirs,
            "ratio": theirs / ours, "target": TARGET, "floor": FLOOR, "floor_share": floor / ours, "results": results}


if __name__ == "__main__":
    print(json.dumps(start_up_row(sys.argv[1])))
