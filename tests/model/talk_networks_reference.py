#!/usr/bin/env python3
"""Answers for tests/model/talk_networks_parity_test.cpp: the talk's three networks as PyTorch modules.

usage: talk_networks_reference.py IN OUT

IN holds x, t, probe and, for every network, its weights as <network>/<name>. OUT gets for the modes eval and train
<network>/<mode>/y, <network>/<mode>/grad_x and <network>/<mode>/grad/<name>, the gradients of sum(y * probe). Dropout takes no
part.
"""
import math
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn

GIVEN = load_file(sys.argv[1])
TIME = 32


class Cbam(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channel_attn = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 16, 1), nn.ReLU(),
                                          nn.Conv2d(channels // 16, channels, 1), nn.Sigmoid())
        self.spatial_attn = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3), nn.Sigmoid())

    def forward(self, x):
        x = x * self.channel_attn(x)
        return x * self.spatial_attn(torch.cat([x.mean(1, True), x.amax(1, True)], 1))


class Block(nn.Module):
    def __init__(self, channels_in, channels, up, has_cbam):
        super().__init__()
        self.time_mlp = nn.Linear(TIME, channels)
        self.conv1 = nn.Conv2d(channels_in * (2 if up else 1), channels, 3, padding=1)
        self.transform = (nn.ConvTranspose2d if up else nn.Conv2d)(channels, channels, 4, 2, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.batch_norm1, self.batch_norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.cbam = Cbam(channels) if has_cbam else nn.Identity()

    def forward(self, x, e):
        h = self.batch_norm1(self.conv1(x).relu()) + self.time_mlp(e).relu()[..., None, None]
        return self.transform(self.cbam(self.batch_norm2(self.conv2(h).relu())))


class SelfAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = nn.MultiheadAttention(channels, 1, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x):
        h = x.flatten(2).transpose(1, 2)
        n = self.norm(h)
        h = h + self.attn(n, n, n, need_weights=False)[0]
        return (h + self.ffn(self.norm2(h))).transpose(1, 2).reshape(x.shape)


class Waves(nn.Module):
    def forward(self, t):
        half = TIME // 2
        angle = t.double()[:, None] * torch.exp(torch.arange(half).double() * -math.log(10000) / (half - 1))
        return torch.cat([angle.sin(), angle.cos()], 1)


class SimpleUnet(nn.Module):
    def __init__(self, channels, attends, has_cbam):
        super().__init__()
        self.time_mlp = nn.Sequential(Waves(), nn.Linear(TIME, TIME), nn.ReLU())
        self.conv0 = nn.Conv2d(3, channels[0], 3, padding=1)
        steps = list(zip(channels, channels[1:]))
        self.down_blocks = nn.ModuleList(Block(a, b, False, has_cbam) for a, b in steps)
        self.up_blocks = nn.ModuleList(Block(b, a, True, has_cbam) for a, b in reversed(steps))
        self.self_attention = SelfAttention(channels[-1]) if attends else nn.Identity()
        self.output = nn.Conv2d(channels[0], 3, 1)

    def forward(self, x, t):
        e = self.time_mlp[1:](self.time_mlp[0](t).to(x.dtype))
        h, skips = self.conv0(x), []
        for block in self.down_blocks:
            h = block(h, e)
            skips.append(h)
        h = self.self_attention(h)
        for block in self.up_blocks:
            h = block(torch.cat([h, skips.pop()], 1), e)
        return self.output(h)


def network_of(name):
    """The network whose weights are given under that name, with its structure read from their names."""
    weights = {key.removeprefix(name + "/"): value for key, value in GIVEN.items() if key.startswith(name + "/")}
    levels = sum(key.endswith("conv1.weight") and key.startswith("down") for key in weights)
    channels = [weights["conv0.weight"].shape[0]]
    channels += [weights[f"down_blocks.{i}.conv1.weight"].shape[0] for i in range(levels)]
    network = SimpleUnet(channels, "self_attention.norm.weight" in weights,
                         "up_blocks.0.cbam.spatial_attn.0.weight" in weights)
    network.to(GIVEN["x"].dtype).load_state_dict(weights)
    return network


def answers_of(name, mode):
    network = network_of(name).train(mode == "train")
    x = GIVEN["x"].clone().requires_grad_()
    y = network(x, GIVEN["t"])
    (y * GIVEN["probe"]).sum().backward()
    return {f"{name}/{mode}/y": y.detach(), f"{name}/{mode}/grad_x": x.grad,
            **{f"{name}/{mode}/grad/{key}": parameter.grad for key, parameter in network.named_parameters()}}


answers = {}
for name in sorted({key.split("/")[0] for key in GIVEN if "/" in key}):
    for mode in ("eval", "train"):
        answers |= answers_of(name, mode)
save_file({key: value.contiguous() for key, value in answers.items()}, sys.argv[2])
