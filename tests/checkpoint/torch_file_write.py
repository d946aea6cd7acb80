"""Writes what the tests of read_torch_file read: torch.save's files in both layouts and all protocols."""
import collections
import pathlib
import sys
import warnings
import zipfile

import torch
from safetensors.torch import save_file

folder = pathlib.Path(sys.argv[1])


class SimpleUnet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv0 = torch.nn.Conv2d(1, 2, 3)


def save(content, name, zipped=True, protocol=2):
    torch.save(content, folder / name, pickle_protocol=protocol,
               _use_new_zipfile_serialization=zipped)


def every_layout(content, name):
    for zipped in (True, False):
        for protocol in (2, 3, 4, 5):
            save(content, f"{name}_{'zip' if zipped else 'legacy'}_{protocol}.pth", zipped, protocol)


generator = torch.Generator().manual_seed(3)
base = torch.randn(4, 5, 6, generator=generator)
views = {"whole": base, "offset": base[2:, 1:, 3:], "transposed": base.permute(2, 0, 1),
         "strided": base[::2, :, 1::3], "expanded": base[:1, :1, :1].expand(3, 1, 2),
         "scalar": base[3, 4, 5], "empty": base[:0], "row": base[1, 2],
         "channels_last": torch.randn(2, 3, 4, 5, generator=generator).to(
             memory_format=torch.channels_last)}
small = torch.arange(-3, 3)
types = {str(dtype)[6:]: (small.abs() if dtype == torch.uint8 else small).to(dtype)
         for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64,
                       torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)}
everything = collections.OrderedDict({**views, **types, "one byte": torch.tensor([7], dtype=torch.uint8),
                                      "parameter": torch.nn.Parameter(base + 1), "größe": base[0]})
everything._metadata = {"": {"version": 1}}
every_layout(everything, "everything")
save_file({name: tensor.detach().clone(memory_format=torch.contiguous_format)
           for name, tensor in everything.items()}, folder / "everything.safetensors")

# What training scripts keep beside a state dict.
plain = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
sum(group["params"][0].sum() for group in optimizer.param_groups).backward()
optimizer.step()
every_layout({"epoch": 3, "loss": [0.5, float("inf"), -1e300], "best": None, "done": False,
              "big": [2**40, -2**40, 2**100, -1, 255, 65536], "name": "run ü", "raw": b"ab",
              "shape": torch.Size([2, 3]), "set": {1, 2}, "frozen": frozenset({3}), "tuple": (1, (2,)),
              "device": torch.device("cuda:0"), "dtype": torch.float16,
              "optimizer": optimizer.state_dict(), "model_state_dict": plain}, "training")
save(plain, "plain.pth")
save({"model": plain, "ema": {"shadow": plain | {"b": torch.zeros(2)}, "decay": 0.9}}, "two.pth")
save({"module." + name: tensor for name, tensor in plain.items()}, "parallel.pth")
save({"_orig_mod.module." + name: tensor for name, tensor in plain.items()}, "compiled.pth")
save({"module.w": plain["w"], "b": plain["b"]}, "half_parallel.pth")
save(plain["w"], "tensor.pth")
save({"epoch": 3, "losses": [1.0]}, "no_tensors.pth")
save(plain | {"step": 7}, "beside.pth")
save({}, "empty.pth")
save(torch.nn.Linear(2, 2).state_dict(), "linear.pth")
every_layout(SimpleUnet(), "module")
save({"z": torch.zeros(2, dtype=torch.complex64)}, "complex.pth")
save({"u": torch.zeros(2, dtype=torch.uint16)}, "uint16.pth")
save({"bomb": torch.zeros(1).expand(1 << 40)}, "expanded_bomb.pth")
save({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, "quantized.pth")
torch.serialization.set_crc32_options(False)
save(plain, "no_crc.pth")
torch.serialization.set_crc32_options(True)
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script.pth")

# Archives of other writers, and bad ones, around the pickle and the storages of plain.pth.
with zipfile.ZipFile(folder / "plain.pth") as archive:
    members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
members = {name: members[name] for name in ("data.pkl", "data/0", "data/1", "byteorder")}


def rezip(name, changes=(), top="any name", **options):
    with zipfile.ZipFile(folder / name, "w", **options) as archive:
        for member, content in {**members, **dict(changes)}.items():
            if content is not None:
                with archive.open(f"{top}/{member}", "w", force_zip64=name == "zip64.pth") as out:
                    out.write(content)


warnings.simplefilter("ignore")  # of names that come twice
rezip("rezipped.pth")
rezip("zip64.pth")
rezip("no_byteorder.pth", {"byteorder": None})
rezip("deflated.pth", compression=zipfile.ZIP_DEFLATED)
rezip("big_endian.pth", {"byteorder": b"big"})
rezip("no_pickle.pth", {"data.pkl": None})
rezip("two_pickles.pth", {"sub/data.pkl": members["data.pkl"]})
rezip("behind_pickle.pth", {"data.pkl": members["data.pkl"] + b"N."})
rezip("no_storage.pth", {"data/1": None})
rezip("short_storage.pth", {"data/0": members["data/0"][:-4]})
rezip("odd_storage.pth", {"data/0": members["data/0"][:-1]})
rezip("twice.pth")
with zipfile.ZipFile(folder / "twice.pth", "a") as archive:
    archive.writestr("any name/data/0", members["data/0"])
rezip("commented.pth")
with zipfile.ZipFile(folder / "commented.pth", "a") as archive:
    archive.comment = b"a comment PK\5\6 in it" * 9
encrypted = bytearray((folder / "rezipped.pth").read_bytes())
for at in range(len(encrypted)):
    if encrypted[at:at + 4] == b"PK\1\2":
        encrypted[at + 8] |= 1
(folder / "encrypted.pth").write_bytes(encrypted)
