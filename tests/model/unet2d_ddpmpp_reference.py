#!/usr/bin/env python3
"""Answers for tests/model/unet2d_ddpmpp_test.cpp: DDPM++ from its published description [EDM, Appendix F].

usage: unet2d_ddpmpp_reference.py IN OUT

IN holds x, t, augment_labels, probe and the weights under UNet2D's names (three levels, two blocks each,
attention in the middle level); OUT gets y and grad_x, the gradient of sum(y * probe).
"""
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

GIVEN = load_file(sys.argv[1])
SKIP = math.sqrt(0.5)
LEVELS, BLOCKS, ATTENDING = 3, 2, 1


def affine(name):
    return GIVEN[f"{name}.weight"], GIVEN[f"{name}.bias"]


def norm(name, x):
    return F.group_norm(x, 32, *affine(name), eps=1e-6)


def conv(name, x):
    weight, bias = affine(name)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def box(x):
    """The filter [1, 1] of unit sum at stride 2."""
    kernel = torch.full((x.shape[1], 1, 2, 2), 0.25, dtype=x.dtype)
    return F.conv2d(x, kernel, stride=2, groups=x.shape[1])


def spread(x):
    """The same filter, transposed, with the gain that keeps a constant."""
    kernel = torch.ones(x.shape[1], 1, 2, 2, dtype=x.dtype)
    return F.conv_transpose2d(x, kernel, stride=2, groups=x.shape[1])


def block(name, x, e, resample=None):
    h = F.silu(norm(f"{name}.norm1", x))
    shortcut = x
    if resample:
        h, shortcut = resample(h), resample(x)
    h = conv(f"{name}.conv1", h) + F.linear(e, *affine(f"{name}.time_emb_proj"))[:, :, None, None]
    h = conv(f"{name}.conv2", F.silu(norm(f"{name}.norm2", h)))
    if resample or h.shape[1] != x.shape[1]:
        shortcut = conv(f"{name}.conv_shortcut", shortcut)
    return (shortcut + h) * SKIP


def attend(name, x):
    flat = norm(f"{name}.group_norm", x).flatten(2).transpose(1, 2)
    q, k, v = (F.linear(flat, *affine(f"{name}.to_{part}")) for part in "qkv")
    weights = (q @ k.transpose(1, 2) / math.sqrt(x.shape[1])).softmax(-1)
    h = F.linear(weights @ v, *affine(f"{name}.to_out.0"))
    return (x + h.transpose(1, 2).reshape(x.shape)) * SKIP


def embed(t, augment_labels):
    width = GIVEN["time_embedding.linear_1.weight"].shape[1]
    half = width // 2
    frequency = torch.exp(torch.arange(half).float() * -math.log(10000) / (half - 1))
    angle = t.float()[:, None] * frequency
    e = torch.cat([angle.sin(), angle.cos()], 1).double()
    e = e + augment_labels @ GIVEN["augment_embedding.weight"].T
    e = F.silu(F.linear(e, *affine("time_embedding.linear_1")))
    return F.silu(F.linear(e, *affine("time_embedding.linear_2")))


def network(x, t, augment_labels):
    e = embed(t, augment_labels)
    h = conv("conv_in", x)
    kept = [h]
    for level in range(LEVELS):
        for i in range(BLOCKS):
            h = block(f"down_blocks.{level}.resnets.{i}", h, e)
            if level == ATTENDING:
                h = attend(f"down_blocks.{level}.attentions.{i}", h)
            kept.append(h)
        if level + 1 < LEVELS:
            h = block(f"down_blocks.{level}.downsamplers.0", h, e, box)
            kept.append(h)
    h = block("mid_block.resnets.0", h, e)
    h = block("mid_block.resnets.1", attend("mid_block.attentions.0", h), e)
    for step in range(LEVELS):
        for i in range(BLOCKS + 1):
            h = block(f"up_blocks.{step}.resnets.{i}", torch.cat([h, kept.pop()], 1), e)
        if LEVELS - 1 - step == ATTENDING:
            h = attend(f"up_blocks.{step}.attentions.0", h)
        if step + 1 < LEVELS:
            h = block(f"up_blocks.{step}.upsamplers.0", h, e, spread)
    return conv("conv_out", F.silu(norm("conv_norm_out", h)))


x = GIVEN["x"].requires_grad_()
y = network(x, GIVEN["t"], GIVEN["augment_labels"])
(y * GIVEN["probe"]).sum().backward()
save_file({"y": y.detach().contiguous(), "grad_x": x.grad.contiguous()}, sys.argv[2])
