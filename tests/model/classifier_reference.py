#!/usr/bin/env python3
"""Answers for tests/model/classifier_parity_test.cpp: the classifier in a few lines of PyTorch.

usage: classifier_reference.py IN OUT

IN holds x, t, labels and the weights (three levels of two blocks, attention of heads of 16 channels in the last one);
OUT gets logits, features, and the gradients of the mean cross-entropy: grad.x, grad.<weight>.
"""
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

GIVEN = load_file(sys.argv[1])
X, T, LABELS = (GIVEN.pop(name) for name in ("x", "t", "labels"))
WEIGHTS = {name: tensor.requires_grad_() for name, tensor in GIVEN.items()}
LEVELS, BLOCKS, GROUPS, HEAD = 3, 2, 4, 16


def affine(name):
    return WEIGHTS[f"{name}.weight"], WEIGHTS[f"{name}.bias"]


def norm(name, x):
    return F.group_norm(x, GROUPS, *affine(name), eps=1e-5)


def conv(name, x, stride=1):
    weight, bias = affine(name)
    return F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)


def block(name, x, e):
    h = conv(f"{name}.conv1", F.silu(norm(f"{name}.norm1", x)))
    scale, shift = F.linear(F.silu(e), *affine(f"{name}.time_emb_proj"))[:, :, None, None].chunk(2, 1)
    h = conv(f"{name}.conv2", F.silu(norm(f"{name}.norm2", h) * (1 + scale) + shift))
    return h + (conv(f"{name}.conv_shortcut", x) if x.shape[1] != h.shape[1] else x)


def attend(name, x):
    images, channels = x.shape[:2]
    flat = norm(f"{name}.group_norm", x).flatten(2).transpose(1, 2)
    q, k, v = (F.linear(flat, *affine(f"{name}.to_{part}"))
               .unflatten(2, (channels // HEAD, HEAD)).transpose(1, 2) for part in "qkv")
    h = (q @ k.transpose(2, 3) / math.sqrt(HEAD)).softmax(-1) @ v
    h = F.linear(h.transpose(1, 2).flatten(2), *affine(f"{name}.to_out.0"))
    return x + h.transpose(1, 2).reshape(x.shape)


def features(x):
    half = WEIGHTS["conv_in.weight"].shape[0] // 2
    angle = T.float()[:, None] * torch.exp(torch.arange(half).float() * -math.log(10000) / half)
    e = torch.cat([angle.cos(), angle.sin()], 1).double()
    e = F.linear(F.silu(F.linear(e, *affine("time_embedding.linear_1"))), *affine("time_embedding.linear_2"))
    h = conv("conv_in", x)
    for level in range(LEVELS):
        last = level + 1 == LEVELS
        for i in range(BLOCKS):
            h = block(f"down_blocks.{level}.resnets.{i}", h, e)
            if last:
                h = attend(f"down_blocks.{level}.attentions.{i}", h)
        if not last:
            h = conv(f"down_blocks.{level}.downsamplers.0.conv", h, stride=2)
    return F.silu(norm("conv_norm_out", h)).mean((2, 3))


X.requires_grad_()
pooled = features(X)
logits = F.linear(pooled, *affine("head"))
F.cross_entropy(logits, LABELS).backward()
answers = {"logits": logits.detach(), "features": pooled.detach(), "grad.x": X.grad}
answers |= {f"grad.{name}": weight.grad for name, weight in WEIGHTS.items()}
save_file({name: tensor.contiguous() for name, tensor in answers.items()}, sys.argv[2])
