"""Images whose pixels are known, for the image tests: the oracle is NumPy, Pillow or both.

image_fixtures.py make FOLDER        writes the fixtures below
image_fixtures.py webp FILE FOLDER   takes an animation apart
image_fixtures.py text FILE OUT      writes a PNG's text chunks as lines of JSON

A .raw file holds width, height and channels as int64, then the pixels.
"""
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: [1, 2, 4, 8, 16], RGB: [8, 16], PALETTE: [1, 2, 4, 8], GREY_ALPHA: [8, 16],
          RGB_ALPHA: [8, 16]}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]


def write_raw(path, pixels):
    pixels = np.asarray(pixels, np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    height, width, channels = pixels.shape
    path.write_bytes(struct.pack("<3q", width, height, channels) + pixels.tobytes())


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_rows(samples, depth):
    """PNG scanlines, filter type 0."""
    rows = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            rows += b"\0" + row.astype(">u2").tobytes()
        else:
            bits = (row[:, None].astype(np.uint8) >> np.arange(depth - 1, -1, -1)) & 1
            rows += b"\0" + np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes()
    return rows


def write_png(path, samples, colour, depth, interlaced, extra=b""):
    height, width, _ = samples.shape
    if interlaced:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        rows = b"".join(pack_rows(p, depth) for p in passes if p.size)
    else:
        rows = pack_rows(samples, depth)
    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, int(interlaced))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra +
                     chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def on_white(colours, alpha):
    return np.floor(255 * (colours * alpha + 1 - alpha) + 0.5)


def png_case(rng, colour, depth, transparent):
    """Samples, chunks between IHDR and IDAT, and the pixels that a decoder owes."""
    shape = (11, 13, CHANNELS[colour])
    top = 2**depth - 1
    samples = rng.integers(0, top + 1, shape)
    samples[0, 0], samples[0, 1] = 0, top
    extra = b""
    if colour == PALETTE:
        palette = rng.integers(0, 256, (top + 1, 3))
        alpha = np.full(top + 1, 255)
        extra = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        if transparent:
            alpha[: top + 1 - top // 2] = rng.integers(0, 256, top + 1 - top // 2)
            extra += chunk(b"tRNS", alpha[: top + 1 - top // 2].astype(np.uint8).tobytes())
        index = samples[..., 0]
        return samples, extra, on_white(palette[index] / 255, alpha[index][..., None] / 255)
    if colour in (GREY_ALPHA, RGB_ALPHA):
        return samples, extra, on_white(samples[..., :-1] / top, samples[..., -1:] / top)
    alpha = np.ones(shape[:2] + (1,))
    if transparent:
        hidden = samples[5, 5]
        extra = chunk(b"tRNS", hidden.astype(">u2").tobytes())
        alpha[(samples == hidden).all(-1)] = 0
    return samples, extra, on_white(samples / top, alpha)


def make_pngs(folder, rng):
    names = []
    for colour, depths in DEPTHS.items():
        for depth in depths:
            for interlaced in (False, True):
                for transparent in (False, True) if colour < 4 else (False,):
                    name = f"c{colour}d{depth}{'i' if interlaced else ''}{'t' if transparent else ''}"
                    samples, extra, expected = png_case(rng, colour, depth, transparent)
                    write_png(folder / f"{name}.png", samples, colour, depth, interlaced, extra)
                    write_raw(folder / f"{name}.raw", expected)
                    names.append(name)
    (folder / "pngs.txt").write_text("\n".join(names))


def photo(rng, height, width):
    """Smooth, as photographs are, so that JPEG keeps it."""
    y, x = np.mgrid[0:height, 0:width] / 16
    phases = rng.uniform(0, 6, 3)
    return np.stack([127.5 + 100 * np.sin(x + p) * np.cos(y * (1 + i / 3)) for i, p in
                     enumerate(phases)], -1).astype(np.uint8)


def split_jpeg(data):
    """Segments by marker, those of one marker joined, and the only scan's bytes."""
    segments, at, marker = {}, 2, None
    while marker != 0xDA:
        marker, size = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        segments[marker] = segments.get(marker, b"") + data[at : at + 2 + size]
        at += 2 + size
    return segments, data[at:-2]


def many_scans(grey_jpeg, repeats):
    """A YCbCr JPEG of one scan a component (all three equal), the first one `repeats` times."""
    segments, scan = split_jpeg(grey_jpeg)
    sof = segments[0xC0]
    frame = sof[4:9] + bytes([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    frame = b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
    out = b"\xff\xd8" + segments[0xE0] + segments[0xDB] + frame + segments[0xC4]
    for component in [1] * repeats + [2, 3]:
        out += b"\xff\xda" + struct.pack(">H6B", 8, 1, component, 0, 0, 63, 0) + scan
    return out + b"\xff\xd9"


def make_jpegs(folder, rng):
    pixels = photo(rng, 37, 51)
    rgb, names = Image.fromarray(pixels), []

    def add(name, expected_from=None):
        path = folder / f"{name}.jpg"
        image = ImageOps.exif_transpose(Image.open(expected_from or path))
        write_raw(folder / f"{name}.raw", image if image.mode == "L" else image.convert("RGB"))
        names.append(name)

    rgb.convert("L").save(folder / "grey.jpg", quality=95)
    rgb.save(folder / "rgb.jpg", quality=95)
    rgb.save(folder / "progressive.jpg", quality=95, progressive=True)
    rgb.save(folder / "unsubsampled.jpg", quality=95, subsampling=0)
    cmyk = Image.fromarray(np.dstack([pixels, pixels[::-1, :, 0] // 2]), "CMYK")
    cmyk.save(folder / "cmyk.jpg", quality=95, subsampling=0)
    adobe = (folder / "cmyk.jpg").read_bytes()
    transform = adobe.index(b"Adobe") + 11
    (folder / "ycck.jpg").write_bytes(adobe[:transform] + b"\2" + adobe[transform + 1 :])
    (folder / "scans.jpg").write_bytes(many_scans((folder / "grey.jpg").read_bytes(), 1))
    for name in ("grey", "rgb", "progressive", "unsubsampled", "cmyk", "ycck", "scans"):
        add(name)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        rgb.save(folder / f"turned{orientation}.jpg", quality=95, exif=exif)
        add(f"turned{orientation}")
        rgb.save(folder / f"turned{orientation}.png", exif=exif)
    (folder / "jpegs.txt").write_text("\n".join(names))
    (folder / "many_scans.jpg").write_bytes(many_scans((folder / "grey.jpg").read_bytes(), 600))


def area_mean(pixels, width, height):
    """Each axis repeated to a common multiple, then plain means: the part covered, exactly."""
    old_height, old_width, channels = pixels.shape
    fine = pixels.astype(np.float64).repeat(height, 0).reshape(height, old_height, old_width, channels)
    fine = fine.mean(1).repeat(width, 1).reshape(height, width, old_width, channels)
    return fine.mean(2)


def pillow_float(pixels, width, height, resample):
    """Pillow in mode F, which neither rounds nor clips between the axes."""
    planes = [Image.fromarray(pixels[..., c].astype(np.float32)).resize((width, height), resample)
              for c in range(pixels.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], -1)


def make_resizes(folder, rng):
    lines = []
    sources = {"noise": rng.integers(0, 256, (45, 60, 3)), "photo": photo(rng, 64, 48),
               "thin": rng.integers(0, 256, (33, 20, 1)), "dot": rng.integers(0, 256, (1, 1, 3))}
    for name, pixels in sources.items():
        write_raw(folder / f"{name}.raw", pixels)
        for width, height in [(16, 16), (7, 31), (100, 90), (1, 1), (60, 9), (3, 120)]:
            for kind, values in [
                ("area", area_mean(pixels, width, height)),
                ("bicubic", pillow_float(pixels, width, height, Image.BICUBIC)),
            ]:
                case = f"{name}_{kind}_{width}x{height}"
                write_raw(folder / f"{case}.raw", np.floor(np.clip(values, 0, 255) + 0.5))
                lines.append(f"{case} {name} {kind} {width} {height}")
    box = Image.fromarray(sources["photo"]).resize((12, 8), Image.BOX)
    write_raw(folder / "photo_box.raw", box)
    lines.append("photo_box photo area 12 8")
    (folder / "resizes.txt").write_text("\n".join(lines))
    write_raw(folder / "photo_luma.raw", Image.fromarray(sources["photo"]).convert("L"))


def make_text(folder):
    info = PngImagePlugin.PngInfo()
    info.add_text("plain", "seed 7")
    info.add_text("latin", "na\u00efve")
    info.add_text("packed", "abc " * 500, zip=True)
    info.add_itxt("world", "\u03b5 \u2192 x\u2080")
    info.add_itxt("world packed", "\u03b5" * 300, zip=True)
    Image.new("L", (2, 2)).save(folder / "text.png", pnginfo=info)


def take_webp_apart(path, folder):
    image, durations = Image.open(path), []
    for index in range(image.n_frames):
        image.seek(index)
        write_raw(folder / f"frame{index}.raw", image.convert("RGB"))
        durations.append(image.info["duration"])
    numbers = [image.n_frames, image.info["loop"], *durations]
    (folder / "animation.txt").write_text(" ".join(map(str, numbers)))


def main(command, path, *rest):
    if command == "make":
        folder, rng = pathlib.Path(path), np.random.default_rng(1)
        for make in (make_pngs, make_jpegs, make_resizes):
            make(folder, rng)
        make_text(folder)
    elif command == "webp":
        take_webp_apart(path, pathlib.Path(rest[0]))
    elif command == "text":
        lines = [json.dumps(pair) for pair in Image.open(path).text.items()]
        pathlib.Path(rest[0]).write_text("\n".join(lines))


main(*sys.argv[1:])
