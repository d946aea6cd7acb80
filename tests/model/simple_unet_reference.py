#!/usr/bin/env python3
"""Answers for tests/model/simple_unet_parity_test.cpp: the talk's U-Net with gates and attention in other places.

usage: simple_unet_reference.py IN OUT

IN holds x, t, probe and, for every network, its weights as <network>/<name>; what a network has is read from their
names. OUT gets <network>/y, and <network>/grad_x, the gradient of sum(y * probe).
"""
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

GIVEN = load_file(sys.argv[1])
GROUPS, LEVELS = 4, 3


class Network:
    def __init__(self, name):
        self.weights = {key.removeprefix(name + "/"): value for key, value in GIVEN.items() if key.startswith(name)}

    def has(self, module):
        return any(key.startswith(module + ".") for key in self.weights)

    def conv(self, name, x, function=F.conv2d, **options):
        return function(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"), **options)

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def group_norm(self, name, x):
        return F.group_norm(x, GROUPS, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def layer_norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def gate(self, name, x, g=None):
        if self.has(f"{name}.psi"):
            sum = self.conv(f"{name}.w_x", x, stride=2) + self.conv(f"{name}.w_g", g)
            alpha = self.conv(f"{name}.psi", sum.relu()).sigmoid()
            return x * F.interpolate(alpha, scale_factor=2, mode="bilinear", align_corners=False)
        pooled = x.mean((2, 3))
        if self.has(f"{name}.fc1"):
            return x * self.linear(f"{name}.fc2", self.linear(f"{name}.fc1", pooled).relu()).sigmoid()[:, :, None, None]
        hidden = self.conv(f"{name}.channel_attn.1", pooled[:, :, None, None]).relu()
        x = x * self.conv(f"{name}.channel_attn.3", hidden).sigmoid()
        maps = torch.cat([x.mean(1, True), x.max(1, True).values], 1)
        return x * self.conv(f"{name}.spatial_attn.0", maps, padding=3).sigmoid()

    def attend(self, name, x):
        if not self.has(name):
            return x
        h = x.flatten(2).transpose(1, 2)
        n = self.layer_norm(f"{name}.norm", h)
        joint = F.linear(n, self.weights[f"{name}.attn.in_proj_weight"], self.weights[f"{name}.attn.in_proj_bias"])
        q, k, v = joint.split(x.shape[1], -1)
        h = h + self.linear(f"{name}.attn.out_proj", (q @ k.mT / math.sqrt(x.shape[1])).softmax(-1) @ v)
        n = F.gelu(self.linear(f"{name}.ffn.0", self.layer_norm(f"{name}.norm2", h)))
        return (h + self.linear(f"{name}.ffn.2", n)).transpose(1, 2).reshape(x.shape)

    def block(self, name, x, e, transform):
        h = self.group_norm(f"{name}.group_norm1", self.conv(f"{name}.conv1", x, padding=1).relu())
        h = h + self.linear(f"{name}.time_mlp", e).relu()[:, :, None, None]
        h = self.group_norm(f"{name}.group_norm2", self.conv(f"{name}.conv2", h, padding=1).relu())
        for kind in ("cbam", "squeeze_excite"):
            if self.has(f"{name}.{kind}"):
                h = self.gate(f"{name}.{kind}", h)
        return h, self.conv(f"{name}.transform", h, transform, stride=2, padding=1)

    def forward(self, x, t):
        angle = t.double()[:, None] * torch.exp(torch.arange(16).double() * -math.log(10000) / 15)
        e = self.linear("time_mlp.1", torch.cat([angle.sin(), angle.cos()], 1)).relu()
        h = self.attend("down_self_attention.0", self.conv("conv0", x, padding=1))
        skips = {}
        for level in range(1, LEVELS + 1):
            _, skips[level] = self.block(f"down_blocks.{level - 1}", h, e, F.conv2d)
            h = self.attend(f"down_self_attention.{level}", skips[level])
        if self.has("bottleneck_gate"):
            h = self.gate("bottleneck_gate", h)
        h = self.attend("self_attention", h)
        features = None
        for level in range(LEVELS, 0, -1):
            skip = skips[level]
            if self.has(f"skip_gates.{level}"):
                skip = self.gate(f"skip_gates.{level}", skip, features)
            features, h = self.block(f"up_blocks.{LEVELS - level}", torch.cat([h, skip], 1), e, F.conv_transpose2d)
            h = self.attend(f"up_self_attention.{level - 1}", h)
        return self.conv("output", h)


answers = {}
for name in sorted({key.split("/")[0] for key in GIVEN if "/" in key}):
    x = GIVEN["x"].clone().requires_grad_()
    y = Network(name).forward(x, GIVEN["t"])
    (y * GIVEN["probe"]).sum().backward()
    answers |= {f"{name}/y": y.detach().contiguous(), f"{name}/grad_x": x.grad.contiguous()}
save_file(answers, sys.argv[2])
