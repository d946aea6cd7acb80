#!/usr/bin/env python3
"""Fails unless diffusers loads a model folder, or refuses it, as expected.

usage: diffusers_loads.py FOLDER yes|no
"""
import sys

import diffusers

diffusers.logging.set_verbosity_error()
folder, expected = sys.argv[1:]
LOADERS = {
    "DDPMPipeline": lambda: diffusers.DDPMPipeline.from_pretrained(folder),
    "UNet2DModel": lambda: diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet"),
}
for name, load in LOADERS.items():
    try:
        load()
        found = "yes"
    except (AttributeError, ValueError) as error:
        found = "no"
        print(f"{name}: {error}")
    assert found == expected, f"{name} loads {folder}: expected {expected}, got {found}"
