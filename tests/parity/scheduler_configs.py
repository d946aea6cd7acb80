"""diffusers' side of tests/checkpoint/scheduler_json_parity_test.cpp.

    python tests/parity/scheduler_configs.py write THEIRS          every case, each in its folder
    python tests/parity/scheduler_configs.py same THEIRS OURS      OURS is THEIRS, read and written
    python tests/parity/scheduler_configs.py loads FOLDER          each loads as its class and is all that it says
"""
import json
import pathlib
import sys
import warnings

from scheduler_cases import CASES, class_of
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

warnings.simplefilter("ignore")
NAME = "scheduler_config.json"


def read(folder):
    return json.loads((folder / NAME).read_text())


def write(root):
    for number, (name, options) in enumerate(CASES):
        class_of(name)(**options).save_pretrained(root / f"{number:02}-{name}")
    swapped = DPMSolverMultistepScheduler.from_config(DDPMScheduler(clip_sample=True, variance_type="fixed_small").config)
    swapped.save_pretrained(root / "swapped")


def check_loads(folder):
    config = read(folder)
    loaded = class_of(config["_class_name"]).from_pretrained(folder)
    expected = json.loads(loaded.to_json_string())
    assert config == expected, f"{folder}: wrote {config}, diffusers has {expected}"
    loaded.set_timesteps(10) if config["num_train_timesteps"] > 10 else None


def check_same(theirs, ours):
    folders = sorted(path for path in theirs.iterdir())
    assert len(folders) == len(CASES) + 1
    for folder in folders:
        again = read(ours / folder.name)
        expected = read(folder)
        if folder.name == "swapped":  # what from_config leaves behind is not written
            assert expected.pop("clip_sample") is True and expected.pop("variance_type") == "fixed_small"
            expected["variance_type"] = None
        assert again == expected, f"{folder.name}: {again} is not {expected}"
        check_loads(ours / folder.name)


mode, *folders = sys.argv[1:]
folders = [pathlib.Path(folder) for folder in folders]
if mode == "write":
    write(*folders)
elif mode == "same":
    check_same(*folders)
else:
    found = sorted(folders[0].iterdir())
    assert found
    for folder in found:
        check_loads(folder)
