#!/usr/bin/env python3
"""Fails unless diffusers loads a model folder, or refuses it, as expected.

usage: diffusers_loads.py FOLDER yes|no [CHANNELS_IN]
"""
import sys

import diffusers

diffusers.logging.set_verbosity_error()
folder, expected, *channels_in = sys.argv[1:]
LOADERS = {
    "DDPMPipeline": lambda: diffusers.DDPMPipeline.from_pretrained(folder),
    "UNet2DModel": lambda: diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet"),
}
for channels in channels_in:
    found = LOADERS["UNet2DModel"]().config.in_channels
    assert found == int(channels), f"expected {channels} channels in, got {found}"
for name, load in LOADERS.items():
    try:
        load()
        found = "yes"
    except (AttributeError, ValueError) as error:
        found = "no"
        print(f"{name}: {error}")
    assert found == expected, f"{name} loads {folder}: expected {expected}, got {found}"
