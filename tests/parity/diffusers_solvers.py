#!/usr/bin/env python3
"""Writes tests/parity/diffusers_solvers.json: the steps of diffusers' ODE and SDE solvers.

    .venv/bin/python tests/parity/diffusers_solvers.py        (needs scipy, for LMS)

Read by tests/sampling/diffusers_solvers_test.cpp. Only cases in which diffusers is right are kept;
docs/decisions.md says which are left out, and why. States are in the scale
x = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.
"""
import json
import pathlib

import diffusers
import torch
from diffusers.schedulers import scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete

SHAPE = (2, 1, 3, 4)
OUT = pathlib.Path(__file__).with_suffix(".json")
EDM_SCALE = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
             "LMSDiscreteScheduler")


def rounded(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def denoise(x, t, num_timesteps):
    """A made-up network, the same in the C++ test."""
    return x * (0.6 + 0.3 * t / num_timesteps) - 0.1


def levels_of(scheduler):
    """The list of (t, sigma) that a scheduler visits, without repetitions; sigma None: by t."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None:  # PNDM, whose timesteps hold inner stages too
        return [[float(t), None] for t in scheduler._timesteps[::-1]]
    timesteps = [float(t) for t in scheduler.timesteps]
    pairs = [[t, float(f"{float(s):.9g}")] for t, s in zip(timesteps, sigmas)]
    return [pair for i, pair in enumerate(pairs) if i == 0 or pair != pairs[i - 1]]


def run(case, x_T, noises):
    config = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02,
                  beta_schedule="linear") | case.pop("config")
    name = case["class"]
    if "Singlestep" not in name:
        config.setdefault("timestep_spacing", "trailing")
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(case["steps"])
    case["levels"] = levels_of(scheduler)
    case["prediction"] = config.get("prediction_type", "epsilon")
    last = getattr(scheduler, "sigmas", [0.0])[-1]
    case["last_sigma"] = float(f"{float(last):.9g}")
    edm = name in EDM_SCALE
    x = x_T * (float(scheduler.sigmas[0]) ** 2 + 1) ** 0.5 if edm else x_T
    case["x"] = []
    for i, t in enumerate(scheduler.timesteps):
        noise = noises[i]
        for module in (scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete):
            module.randn_tensor = lambda *args, noise=noise, **kwargs: noise
        output = denoise(scheduler.scale_model_input(x, t), float(t), 1000)
        more = {"order": case["order"]} if case["kind"] == "lms" else {}
        x = scheduler.step(output, t, x, **more).prev_sample
        scale = (float(scheduler.sigmas[i + 1]) ** 2 + 1) ** 0.5 if edm else 1.0
        case["x"].append(rounded(x / scale))
    return case


def solver(name, kind, config=None, steps=7, **options):
    return {"class": name, "kind": kind, "steps": steps, "config": config or {}, **options}


def cases():
    for prediction in ("epsilon", "sample", "v_prediction"):
        for name, kind in (("EulerDiscreteScheduler", "euler"), ("HeunDiscreteScheduler", "heun"),
                           ("DPMSolverMultistepScheduler", "dpmpp_2m"),
                           ("UniPCMultistepScheduler", "unipc")):
            yield solver(name, kind, dict(prediction_type=prediction), order=2 if kind == "unipc"
                         else 0)
    for name, kind in (("EulerDiscreteScheduler", "euler"),
                       ("EulerAncestralDiscreteScheduler", "euler_a"),
                       ("HeunDiscreteScheduler", "heun")):
        for spacing in ("linspace", "leading", "trailing"):
            yield solver(name, kind, dict(timestep_spacing=spacing, steps_offset=0))
    for levels in ("karras", "exponential"):
        yield solver("EulerDiscreteScheduler", "euler", {f"use_{levels}_sigmas": True},
                     levels_are=levels)
        yield solver("DPMSolverMultistepScheduler", "dpmpp_2m", {f"use_{levels}_sigmas": True},
                     levels_are=levels)
    yield solver("DPMSolverMultistepScheduler", "dpmpp_2m", dict(use_lu_lambdas=True),
                 levels_are="uniform_lambda")
    for order in (1, 2, 3, 4):
        yield solver("LMSDiscreteScheduler", "lms", order=order)
    multistep = "DPMSolverMultistepScheduler"
    yield solver(multistep, "ddim", dict(solver_order=1))
    yield solver(multistep, "dpmpp_2m_sde", dict(algorithm_type="sde-dpmsolver++"))
    yield solver(multistep, "deis", dict(algorithm_type="dpmsolver", solver_type="heun",
                                          final_sigmas_type="sigma_min", lower_order_final=False), order=2)
    singlestep = "DPMSolverSinglestepScheduler"
    for steps in (6, 7, 8):
        yield solver(singlestep, "dpmpp_2s", dict(solver_order=2), steps)
        yield solver(singlestep, "dpmpp_3s", dict(solver_order=3, solver_type="heun"), steps)
        yield solver(singlestep, "dpm_2s", dict(solver_order=2, algorithm_type="dpmsolver",
                                                final_sigmas_type="sigma_min"), steps)
        yield solver(singlestep, "dpm_3s", dict(solver_order=3, algorithm_type="dpmsolver",
                                                solver_type="heun",
                                                final_sigmas_type="sigma_min"), steps)
    for order in (1, 2, 3):
        for variant, more in (("bh1", dict(final_sigmas_type="sigma_min", lower_order_final=False)),
                              ("bh2", {})):  # bh1 to sigma = 0 is NaN there
            yield solver("UniPCMultistepScheduler", "unipc",
                         dict(solver_order=order, solver_type=variant) | more, order=order,
                         unipc=variant)
    for order in (1, 2, 3):
        yield solver("DEISMultistepScheduler", "deis", dict(solver_order=order, lower_order_final=False), order=order)
    for skip, kind in ((True, "plms"), (False, "pndm")):
        yield solver("PNDMScheduler", kind, dict(skip_prk_steps=skip, set_alpha_to_one=True),
                     steps=10)


def main():
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(SHAPE, generator=generator)
    noises = [torch.randn(SHAPE, generator=generator) for _ in range(30)]
    fixture = {
        "diffusers": diffusers.__version__,
        "shape": SHAPE,
        "x_T": rounded(x_T),
        "noise": [rounded(noise) for noise in noises],
        "cases": [run(case, x_T, noises) for case in cases()],
    }
    OUT.write_text(json.dumps(fixture, separators=(",", ":")).replace('},{', '},\n{') + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(fixture['cases'])} cases")


main()
