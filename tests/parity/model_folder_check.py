"""Loads what diffusers wrote and what we wrote of it again, and compares all that they hold."""
import pathlib
import sys

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def public(config):
    return {key: list(value) if isinstance(value, tuple) else value
            for key, value in config.items() if not key.startswith("_")}


def sample(pipeline):
    if pipeline.unet.class_embedding is not None:
        return None  # the pipeline has no place for labels
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(batch_size=2, generator=torch.Generator().manual_seed(0),
                    num_inference_steps=3, output_type="pt").images


def check(theirs, ours):
    a = DDPMPipeline.from_pretrained(theirs)
    b = DDPMPipeline.from_pretrained(ours)
    assert public(a.unet.config) == public(b.unet.config)
    assert set(public(b.unet.config)) == set(public(UNet2DModel.from_pretrained(
        ours / "unet").config))
    state_a, state_b = a.unet.state_dict(), b.unet.state_dict()
    assert list(state_a) == list(state_b)
    assert all(torch.equal(state_a[key], state_b[key]) for key in state_a)
    assert (theirs / WEIGHTS).read_bytes() == (ours / WEIGHTS).read_bytes()

    assert type(a.scheduler) is type(b.scheduler)
    config_a, config_b = public(a.scheduler.config), public(b.scheduler.config)
    assert config_a == config_b, (config_a, config_b)
    assert torch.equal(a.scheduler.betas, b.scheduler.betas)
    if isinstance(a.scheduler, DDPMScheduler):
        images_a, images_b = sample(a), sample(b)
        assert images_a is None or torch.equal(images_a, images_b)


their_root, our_root = map(pathlib.Path, sys.argv[1:])
cases = sorted(folder.name for folder in their_root.iterdir())
assert len(cases) == 6, cases
for case in cases:
    check(their_root / case, our_root / case)

# A schedule that diffusers lacks: beta_t = 1 / (T - t).
betas = DDPMPipeline.from_pretrained(our_root / "jsd").scheduler.betas
assert torch.allclose(betas, 1 / torch.arange(4, 0, -1)), betas
