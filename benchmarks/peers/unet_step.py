"""The CIFAR-10 DDPM network's steps in PyTorch (diffusers' UNet2DModel) and in ddpm.cpp, in turns, in one run.

    scripts/bench                       what this machine can do in a few minutes
    scripts/bench --work train --batch 16 --bits 32 --rounds 5

Same network, batch, dtype and device; a training step draws timesteps and noise, and does q_sample, forward,
MSE, backward, clipping to 1.0, Adam and EMA. Prints milliseconds (median, spread) and ratios to ours.
"""
import argparse
import copy
import json
import statistics
import subprocess
import time

import torch
from diffusers import UNet2DModel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_unet():
    return UNet2DModel(
        sample_size=32, block_out_channels=(128, 256, 256, 256), norm_eps=1e-6, downsample_padding=0,
        freq_shift=1, flip_sin_to_cos=False, attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ).to(DEVICE, memory_format=torch.channels_last)


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def denoise_step(batch, bits, compiled):
    unet = make_unet().eval()
    dtype = torch.bfloat16 if bits == 16 else torch.float32
    unet = unet.to(dtype)
    if compiled:
        unet = torch.compile(unet, mode="reduce-overhead" if DEVICE == "cuda" else "default")
    x = torch.randn(batch, 3, 32, 32, device=DEVICE, dtype=dtype).to(memory_format=torch.channels_last)
    t = torch.full((batch,), 500, device=DEVICE)

    def step():
        with torch.no_grad():
            unet(x, t).sample
    return step


def train_step(batch, bits, compiled):
    unet = make_unet().train()
    ema = [copy.deepcopy(p.detach()) for p in unet.parameters()]
    optimizer = torch.optim.Adam(unet.parameters(), lr=2e-4, fused=True)
    network = torch.compile(unet, mode="reduce-overhead" if DEVICE == "cuda" else "default") if compiled else unet
    alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).to(DEVICE)
    images = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, device=DEVICE)

    def step():
        x_start = (images.float() / 127.5 - 1).to(memory_format=torch.channels_last)
        noise = torch.randn_like(x_start)
        t = torch.randint(0, 1000, (batch,), device=DEVICE)
        alpha_bar = alphas_cumprod[t].float()[:, None, None, None]
        x_t = alpha_bar.sqrt() * x_start + (1 - alpha_bar).sqrt() * noise
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bits == 16):
            eps = network(x_t, t).sample
        loss = torch.nn.functional.mse_loss(eps.float(), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0, foreach=True)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(ema, list(unet.parameters()), 1e-4)
    return step


def time_peer(step, seconds):
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        step()
        synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def time_ours(program, work, batch, bits, seconds):
    out = subprocess.run([program, f"--benchmark_filter=^{work}/{batch}/{bits}/", "--benchmark_format=json",
                          f"--benchmark_min_time={seconds}"], check=True, text=True, stdout=subprocess.PIPE).stdout
    return [run["real_time"] for run in json.loads(out)["benchmarks"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="build/bench/benchmarks/step_benchmark")
    parser.add_argument("--work", choices=["denoise", "train"], action="append")
    parser.add_argument("--batch", type=int, help="default: 1 and 8 to denoise, 16 to train")
    parser.add_argument("--bits", type=int, choices=[16, 32], default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement in a round")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    makers = {"denoise": denoise_step, "train": train_step}
    print(f"{DEVICE}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    for work in options.work or ["denoise", "train"]:
        for batch in [options.batch] if options.batch else ([1, 8] if work == "denoise" else [16]):
            peers = {"PyTorch eager": makers[work](batch, options.bits, False)}
            if not options.no_compile:
                peers["torch.compile"] = makers[work](batch, options.bits, True)
            for step in peers.values():  # warm up, compile
                step(), step()
            times = {name: [] for name in ["ddpm.cpp", *peers]}
            for _ in range(options.rounds):  # in turns, so that a slow moment of the machine hits all
                times["ddpm.cpp"] += time_ours(options.program, work, batch, options.bits, options.seconds)
                for name, step in peers.items():
                    times[name].append(statistics.median(time_peer(step, options.seconds)))
            ours = statistics.median(times["ddpm.cpp"])
            for name, rounds in times.items():
                median = statistics.median(rounds)
                print(f"{work} batch {batch} {options.bits} bits  {name:14} {median:9.1f} ms  "
                      f"[{min(rounds):.1f}, {max(rounds):.1f}]  {1e3 * batch / median:8.1f} img/s  "
                      f"{median / ours:5.2f}x ours", flush=True)


if __name__ == "__main__":
    main()
