#!/usr/bin/env python3
"""Writes tests/parity/diffusers_schedulers.json: what diffusers' DDPM and DDIM schedulers give.

    .venv/bin/python tests/parity/diffusers_schedulers.py

Read by tests/sampling/diffusers_parity_test.cpp. Only cases in which diffusers is right are kept:
DDIM with linspace reads the wrong alpha_bar_prev, trailing lists can get one entry too many, and
fixed_large adds noise to the image itself where the last timestep is not 0.
"""
import json
import pathlib

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers import scheduling_ddpm

SHAPE = (2, 1, 3, 4)
SPACINGS = ("leading", "linspace", "trailing")
OUT = pathlib.Path(__file__).with_suffix(".json")


def rounded(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def denoise(x, t, num_timesteps):
    """A made-up network, the same in the C++ test."""
    return x * (0.6 + 0.3 * t / num_timesteps) - 0.1


def timestep_checksums(num_timesteps):
    """For each spacing and n: the sum of (i + 1) * t_i, or None where diffusers' list is wrong."""
    rows = {}
    for spacing in SPACINGS:
        scheduler = DDPMScheduler(num_train_timesteps=num_timesteps, timestep_spacing=spacing)
        rows[spacing] = []
        for n in range(1, num_timesteps + 1):
            scheduler.set_timesteps(n)
            t = scheduler.timesteps.numpy()
            if spacing == "linspace" and n == 1:
                right = False  # NumPy's linspace of one point starts at 0, which is no sampling
            else:
                right = len(t) == n and t.min() >= 0
            rows[spacing].append(int((np.arange(1, n + 1) * t).sum()) if right else None)
    return rows


def run(case, x_T, noises):
    common = dict(num_train_timesteps=case["num_timesteps"], beta_start=1e-4, beta_end=0.02,
                  beta_schedule=case["schedule"], prediction_type=case["prediction"],
                  timestep_spacing=case["spacing"], clip_sample=case["clip"] == "clip",
                  thresholding=case["clip"] == "dynamic", dynamic_thresholding_ratio=0.9,
                  sample_max_value=3.0, rescale_betas_zero_snr=case["zero_terminal_snr"])
    if case["kind"] == "ddpm":
        scheduler = DDPMScheduler(variance_type=case["variance"], **common)
    else:
        scheduler = DDIMScheduler(set_alpha_to_one=True, **common)
    scheduler.set_timesteps(case["steps"])
    case["timesteps"] = scheduler.timesteps.tolist()
    case["x_prev"], case["pred_x_start"] = [], []
    x = x_T
    for t, noise in zip(scheduler.timesteps, noises):
        output = denoise(x, int(t), case["num_timesteps"])
        if case["kind"] == "ddpm":
            scheduling_ddpm.randn_tensor = lambda *args, noise=noise, **kwargs: noise
            result = scheduler.step(output, t, x)
        else:  # eps derived again from the clipped x_0, as in every system but diffusers' default
            result = scheduler.step(output, t, x, eta=case["eta"], use_clipped_model_output=True,
                                    variance_noise=noise if case["eta"] > 0 else None)
        x = result.prev_sample
        case["x_prev"].append(rounded(x))
        case["pred_x_start"].append(rounded(result.pred_original_sample))
    return case


def cases():
    base = dict(schedule="linear", num_timesteps=1000, steps=5, spacing="leading", clip="clip",
                prediction="epsilon", kind="ddpm", variance="fixed_small", eta=0.0,
                zero_terminal_snr=False)
    for prediction in ("epsilon", "sample", "v_prediction"):
        for clip in ("none", "clip", "dynamic"):
            yield base | dict(prediction=prediction, clip=clip)
            yield base | dict(prediction=prediction, clip=clip, kind="ddim", eta=0.5)
    for spacing in SPACINGS:
        yield base | dict(spacing=spacing, prediction="v_prediction")
    for spacing in ("leading", "trailing"):
        for eta in (0.0, 1.0):
            yield base | dict(spacing=spacing, kind="ddim", eta=eta, prediction="v_prediction")
    for spacing in ("leading", "linspace"):  # they end at t = 0
        yield base | dict(spacing=spacing, variance="fixed_large")
    for schedule in ("scaled_linear", "squaredcos_cap_v2", "sigmoid"):
        yield base | dict(schedule=schedule, prediction="v_prediction")
    for schedule in ("scaled_linear", "squaredcos_cap_v2"):
        yield base | dict(schedule=schedule, prediction="v_prediction", kind="ddim", eta=0.3)
    for kind in ("ddpm", "ddim"):
        yield base | dict(kind=kind, spacing="trailing", prediction="v_prediction",
                          zero_terminal_snr=True)
    for kind in ("ddpm", "ddim"):  # every timestep
        yield base | dict(kind=kind, num_timesteps=20, steps=20, eta=0.7)


def main():
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(SHAPE, generator=generator)
    noises = [torch.randn(SHAPE, generator=generator) for _ in range(20)]
    fixture = {
        "diffusers": diffusers.__version__,
        "shape": SHAPE,
        "x_T": rounded(x_T),
        "noise": [rounded(noise) for noise in noises],
        "timestep_checksums": {"300": timestep_checksums(300), "1000": timestep_checksums(1000)},
        "cases": [run(case, x_T, noises) for case in cases()],
    }
    OUT.write_text(json.dumps(fixture, separators=(",", ":")).replace('},{', '},\n{') + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(fixture['cases'])} cases")


main()
