"""The talk's network in PyTorch, written from its description, for the tests."""
import math

import torch
from torch import nn


class Embedding(nn.Module):
    def forward(self, t):
        frequencies = torch.exp(torch.arange(16, device=t.device) * (-math.log(10000) / 15))
        angles = t[:, None].float() * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    def __init__(self, inner, outer, up):
        super().__init__()
        self.time_mlp = nn.Linear(32, outer)
        self.conv1 = nn.Conv2d(2 * inner if up else inner, outer, 3, padding=1)
        resampling = nn.ConvTranspose2d if up else nn.Conv2d
        self.transform = resampling(outer, outer, 4, 2, 1)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.batch_norm1 = nn.BatchNorm2d(outer)
        self.batch_norm2 = nn.BatchNorm2d(outer)

    def forward(self, x, e):
        x = self.batch_norm1(self.conv1(x).relu()) + self.time_mlp(e).relu()[:, :, None, None]
        return self.transform(self.batch_norm2(self.conv2(x).relu()))


class SimpleUnet(nn.Module):
    def __init__(self):
        super().__init__()
        channels = [64, 128, 256, 512, 1024]
        self.time_mlp = nn.Sequential(Embedding(), nn.Linear(32, 32), nn.ReLU())
        self.conv0 = nn.Conv2d(3, 64, 3, padding=1)
        self.down_blocks = nn.ModuleList(Block(a, b, False) for a, b in zip(channels, channels[1:]))
        channels.reverse()
        self.up_blocks = nn.ModuleList(Block(a, b, True) for a, b in zip(channels, channels[1:]))
        self.output = nn.Conv2d(64, 3, 1)

    def forward(self, x, t):
        embedding, linear, relu = self.time_mlp
        e = relu(linear(embedding(t).to(x.dtype)))
        x = self.conv0(x)
        skips = []
        for block in self.down_blocks:
            x = block(x, e)
            skips.append(x)
        for block in self.up_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), e)
        return self.output(x)
