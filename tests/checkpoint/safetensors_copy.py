"""Checks a file that the C++ test wrote, tensor by tensor, and saves the same tensors again."""
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ours, theirs = sys.argv[1:]
tensors = load_file(ours)
with safe_open(ours, framework="pt") as file:
    metadata = file.metadata()
assert metadata == {"format": "pt"}, metadata
values = torch.arange(6).reshape(2, 3)
for name, dtype in {"Bool": torch.bool, "Byte": torch.uint8, "Char": torch.int8,
                    "Short": torch.int16, "Int": torch.int32, "Long": torch.int64,
                    "Half": torch.float16, "BFloat16": torch.bfloat16,
                    "Float": torch.float32, "Double": torch.float64}.items():
    expected = (values if name == "Byte" else values - 2).to(dtype)
    assert tensors["t." + name].dtype == dtype, name
    assert torch.equal(tensors["t." + name], expected), name
assert tensors["empty"].shape == (0, 3)
assert tensors["scalar"].shape == ()
assert tensors['quote" slash\\ tab\t café'].item() == 7
save_file(tensors, theirs, metadata)
