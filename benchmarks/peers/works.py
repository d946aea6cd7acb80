"""What is compared: works (training and denoising steps of two networks) and PyTorch's ways to do them."""
import dataclasses
import pathlib
import sys
import typing

import torch

from unet2d import make_unet2d

sys.path.append(str(pathlib.Path(__file__).parents[2] / "tests/e2e"))
from talk_networks import SimpleUnet  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and how its recipe (recipes/cifar10_ddpm.toml, cifar10_talk_simple_unet.toml) trains it."""
    make: typing.Callable[[], torch.nn.Module]
    image_size: int
    num_timesteps: int
    loss: typing.Callable
    lr: float
    max_grad_norm: float | None
    ema_decay: float


NETWORKS = {
    "ddpm": Network(make_unet2d, 32, 1000, torch.nn.functional.mse_loss, 2e-4, 1.0, 0.9999),
    "talk": Network(SimpleUnet, 64, 300, torch.nn.functional.l1_loss, 1e-3, None, 0.999),
}


@dataclasses.dataclass(frozen=True)
class Work:
    kind: str  # train or denoise
    network: str
    batch: int

    @property
    def name(self):
        return f"{self.kind}/{self.network}/{self.batch}"

    @property
    def spec(self):
        return NETWORKS[self.network]

    @property
    def image_shape(self):
        return (self.batch, 3, self.spec.image_size, self.spec.image_size)


@dataclasses.dataclass(frozen=True)
class Mode:
    """A way to run a work in PyTorch, or with `floor` the least it can take: its convolutions alone."""
    precision: str
    channels_last: bool = False
    compile: str | None = None
    talks_own_way: bool = False  # no moving average, Adam not fused
    floor: bool = False

    @property
    def dtype(self):
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[self.precision]

    @property
    def memory_format(self):
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def name(self):
        words = ["floor: convolutions" if self.floor else f"compile({self.compile})" if self.compile else "eager",
                 self.precision]
        layout = ["channels_last"] if self.channels_last and not self.floor else []
        return " ".join(words + layout + (["(the talk's way)"] if self.talks_own_way else []))


def modes(device, network):
    """PyTorch's ways that stand a chance on this kind of device, and the floor in each precision."""
    if device == "cuda":
        plain = Mode("fp32", talks_own_way=network == "talk")
        return [plain, Mode("bf16"), Mode("bf16", True), Mode("bf16", True, "default"),
                Mode("bf16", True, "reduce-overhead"), Mode("bf16", True, floor=True)]
    eager = [Mode(precision, layout) for precision in ("fp32", "bf16") for layout in (False, True)]
    both = ("fp32", "bf16")
    return [*eager, *(Mode(p, True, "default") for p in both), *(Mode(p, True, floor=True) for p in both)]
