"""The CIFAR-10 DDPM network in PyTorch: diffusers' UNet2DModel, or where there is no diffusers the same network.

`python benchmarks/peers/unet2d.py` compares the two.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

CHANNELS = (128, 256, 256, 256)
GROUPS, EPS, PARAMETERS = 32, 1e-6, 35_746_307
ATTENTION_LEVEL = 1  # 16x16
UNET2D_OPTIONS = dict(
    sample_size=32, block_out_channels=CHANNELS, norm_eps=EPS, downsample_padding=0, freq_shift=1,
    flip_sin_to_cos=False, attention_head_dim=None,
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"))


def norm(channels):
    return nn.GroupNorm(GROUPS, channels, EPS)


class TimeEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear_1 = nn.Linear(CHANNELS[0], 4 * CHANNELS[0])
        self.linear_2 = nn.Linear(4 * CHANNELS[0], 4 * CHANNELS[0])

    def forward(self, t):
        half = CHANNELS[0] // 2
        frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / (half - 1)))
        angles = t[:, None].float() * frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class ResBlock(nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.norm1, self.conv1 = norm(inner), nn.Conv2d(inner, outer, 3, padding=1)
        self.time_emb_proj = nn.Linear(4 * CHANNELS[0], outer)
        self.norm2, self.conv2 = norm(outer), nn.Conv2d(outer, outer, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x, e):
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(e))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.group_norm = norm(channels)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x):
        n, c, h, w = x.shape
        rows = self.group_norm(x.view(n, c, h * w)).transpose(1, 2)
        q, k, v = (project(rows)[:, None] for project in (self.to_q, self.to_k, self.to_v))
        out = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + out.transpose(1, 2).reshape(n, c, h, w)


class Resample(nn.Module):
    def __init__(self, channels, up):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else 0)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0) if self.up else F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """The res blocks of one resolution on one side; diffusers' Down-, Up- and UNetMidBlock2D."""

    def __init__(self, widths, attentions, resampler=None):
        super().__init__()
        outer = widths[-1][1]
        self.resnets = nn.ModuleList(ResBlock(*pair) for pair in widths)
        if attentions:
            self.attentions = nn.ModuleList(Attention(outer) for _ in range(attentions))
        if resampler:
            setattr(self, f"{resampler}samplers", nn.ModuleList([Resample(outer, resampler == "up")]))


class UNet2D(nn.Module):
    def __init__(self):
        super().__init__()
        last = len(CHANNELS) - 1
        self.conv_in = nn.Conv2d(3, CHANNELS[0], 3, padding=1)
        self.time_embedding = TimeEmbedding()
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips = [CHANNELS[0]]
        for level, outer in enumerate(CHANNELS):
            widths = [(skips[-1], outer), (outer, outer)]
            self.down_blocks.append(Level(widths, 2 * (level == ATTENTION_LEVEL), "down" if level < last else None))
            skips += [outer] * (3 if level < last else 2)
        inner = CHANNELS[-1]
        for level in reversed(range(len(CHANNELS))):
            widths = []
            for _ in range(3):
                widths.append((inner + skips.pop(), CHANNELS[level]))
                inner = CHANNELS[level]
            self.up_blocks.append(Level(widths, 3 * (level == ATTENTION_LEVEL), "up" if level > 0 else None))
        self.mid_block = Level([(CHANNELS[-1], CHANNELS[-1])] * 2, 1)
        self.conv_norm_out, self.conv_out = norm(CHANNELS[0]), nn.Conv2d(CHANNELS[0], 3, 3, padding=1)

    def forward(self, x, t):
        e = self.time_embedding(t)
        h = self.conv_in(x)
        skips = [h]
        for block in self.down_blocks:
            for i, resnet in enumerate(block.resnets):
                h = resnet(h, e)
                h = block.attentions[i](h) if hasattr(block, "attentions") else h
                skips.append(h)
            if hasattr(block, "downsamplers"):
                h = block.downsamplers[0](h)
                skips.append(h)
        h = self.mid_block.resnets[0](h, e)
        h = self.mid_block.resnets[1](self.mid_block.attentions[0](h), e)
        for block in self.up_blocks:
            for i, resnet in enumerate(block.resnets):
                h = resnet(torch.cat([h, skips.pop()], dim=1), e)
                h = block.attentions[i](h) if hasattr(block, "attentions") else h
            h = block.upsamplers[0](h) if hasattr(block, "upsamplers") else h
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class DiffusersUNet2D(nn.Module):
    """diffusers' network, with our signature."""

    def __init__(self):
        super().__init__()
        from diffusers import UNet2DModel
        self.unet = UNet2DModel(**UNET2D_OPTIONS)

    def forward(self, x, t):
        return self.unet(x, t, return_dict=False)[0]


def make_unet2d():
    try:
        return DiffusersUNet2D()
    except ImportError:
        return UNet2D()


def check_equality():
    theirs, ours = DiffusersUNet2D(), UNet2D()
    ours.load_state_dict(theirs.unet.state_dict())
    assert sum(p.numel() for p in ours.parameters()) == PARAMETERS
    torch.manual_seed(0)
    x, t = torch.randn(2, 3, 32, 32), torch.tensor([3, 871])
    probe = torch.randn_like(x)
    for network in (theirs, ours):
        (network(x, t) * probe).sum().backward()
    torch.testing.assert_close(ours(x, t), theirs(x, t), rtol=1e-4, atol=1e-5)
    of_theirs = dict(theirs.unet.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, of_theirs[name].grad, rtol=1e-3, atol=1e-3, msg=name)
    print(f"equal outputs and gradients, {PARAMETERS:,} parameters")


if __name__ == "__main__":
    check_equality()
