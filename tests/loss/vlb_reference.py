"""The variational bound's terms by other means than the C++ code: torch.distributions for the KL, the
interval's probability pixel by pixel. Arguments: the file with the cases, the file to write."""
import math
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.distributions import Normal, kl_divergence


def schedule(num_timesteps, first, last):
    betas = np.linspace(first, last, num_timesteps)
    alpha_bar = np.cumprod(1 - betas)
    before = np.append(1.0, alpha_bar[:-1])
    tilde = betas * (1 - before) / (1 - alpha_bar)
    tilde[0] = tilde[1]
    return betas, alpha_bar, before, tilde


def denoised(kind, a, x_t, output):
    if kind == "epsilon":
        return (x_t - math.sqrt(1 - a) * output) / math.sqrt(a)
    if kind == "sample":
        return output
    return math.sqrt(a) * x_t - math.sqrt(1 - a) * output


def cdf(x):
    return 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def pixel_nats(x, mean, deviation):
    level = round((x + 1) * 127.5)
    upper = 1.0 if level == 255 else cdf((x + 1 / 255 - mean) / deviation)
    lower = 0.0 if level == 0 else cdf((x - 1 / 255 - mean) / deviation)
    return -math.log(max(upper - lower, 1e-12))


def term(tables, kind, variance, t, x_start, x_t, output):
    betas, alpha_bar, before, tilde = tables
    channels = x_start.shape[0]
    b, a, p = betas[t], alpha_bar[t], before[t]

    def mean(x):
        return (math.sqrt(p) * b * x + math.sqrt(1 - b) * (1 - p) * x_t) / (1 - a)

    guess = mean(denoised(kind, a, x_t, output[:channels]))
    if variance == "learned_range":
        share = (output[channels:] + 1) / 2
        deviation = torch.exp(0.5 * (share * math.log(b) + (1 - share) * math.log(tilde[t])))
    else:
        large = b if t > 0 else tilde[0]
        fixed = large if variance == "fixed_large" else tilde[t]
        deviation = torch.full_like(guess, math.sqrt(fixed))
    if t > 0:
        truth = Normal(mean(x_start), torch.full_like(guess, math.sqrt(tilde[t])))
        nats = kl_divergence(truth, Normal(guess, deviation)).mean().item()
    else:
        nats = np.mean([pixel_nats(*values) for values in zip(
            x_start.flatten().tolist(), guess.flatten().tolist(), deviation.flatten().tolist())])
    return nats / math.log(2)


case = load_file(sys.argv[1])
tables = schedule(100, 1e-4, 0.2)
answers = {}
for variance in ("fixed_small", "fixed_large", "learned_range"):
    for kind in ("epsilon", "sample", "v_prediction"):
        terms = []
        for i, t in enumerate(case["t"].tolist()):
            output = case["output"][i]
            if variance != "learned_range":
                output = output[: output.shape[0] // 2]
            terms.append(term(tables, kind, variance, t, case["x_start"][i], case["x_t"][i], output))
        answers[f"{variance}.{kind}"] = torch.tensor(terms, dtype=torch.float64)
save_file(answers, sys.argv[2])
