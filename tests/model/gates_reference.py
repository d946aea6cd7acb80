#!/usr/bin/env python3
"""Answers for tests/model/gates_test.cpp: the gates and the self-attention block, from their papers and PyTorch.

usage: gates_reference.py IN OUT

IN holds x, coarser, probe and weights as <module>.<name>; OUT gets <module>.y, and the gradients of
sum(y * probe) with respect to x, and to coarser where the module takes it.
"""
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn

GIVEN = load_file(sys.argv[1])
CHANNELS, INNER = GIVEN["x"].shape[1], GIVEN["squeeze_excite.fc1.weight"].shape[0]


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(CHANNELS, INNER), nn.Linear(INNER, CHANNELS)

    def forward(self, x, coarser):
        return torch.einsum("nchw,nc->nchw", x, self.fc2(self.fc1(x.flatten(2).mean(-1)).relu()).sigmoid())


class Cbam(nn.Module):
    def __init__(self):
        super().__init__()
        self.channel_attn = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(CHANNELS, INNER, 1), nn.ReLU(),
                                          nn.Conv2d(INNER, CHANNELS, 1), nn.Sigmoid())
        self.spatial_attn = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3), nn.Sigmoid())

    def forward(self, x, coarser):
        x = self.channel_attn(x) * x
        return self.spatial_attn(torch.stack([x.mean(1), x.max(1).values], 1)) * x


class AttentionGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.w_x = nn.Conv2d(CHANNELS, INNER, 2, stride=2, bias=False)
        self.w_g = nn.Conv2d(GIVEN["coarser"].shape[1], INNER, 1)
        self.psi = nn.Conv2d(INNER, 1, 1)

    def forward(self, x, coarser):
        alpha = torch.sigmoid(self.psi(torch.relu(self.w_x(x) + self.w_g(coarser))))
        return x * nn.functional.interpolate(alpha, scale_factor=2, mode="bilinear", align_corners=False)


class SelfAttentionBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)
        self.attn = nn.MultiheadAttention(CHANNELS, 1, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(CHANNELS, 4 * CHANNELS), nn.GELU(), nn.Linear(4 * CHANNELS, CHANNELS))

    def forward(self, x, coarser):
        h = x.flatten(2).transpose(1, 2)
        n = self.norm(h)
        h = h + self.attn(n, n, n)[0]
        return (h + self.ffn(self.norm2(h))).transpose(1, 2).reshape(x.shape)


answers = {}
for name, module in {"squeeze_excite": SqueezeExcite(), "cbam": Cbam(), "attention_gate": AttentionGate(),
                     "self_attention": SelfAttentionBlock()}.items():
    module.double().load_state_dict({key.removeprefix(name + "."): value for key, value in GIVEN.items()
                                     if key.startswith(name + ".")})
    x, coarser = (GIVEN[key].clone().requires_grad_() for key in ("x", "coarser"))
    y = module(x, coarser)
    (y * GIVEN["probe"]).sum().backward()
    answers[f"{name}.y"], answers[f"{name}.grad_x"] = y.detach(), x.grad
    if coarser.grad is not None:
        answers[f"{name}.grad_coarser"] = coarser.grad
save_file({key: value.contiguous() for key, value in answers.items()}, sys.argv[2])
