"""ddpm edit and guidance of ddpm sample, as someone at a shell uses them."""
import struct
import unittest
import zipfile
import zlib

import program


def png_bytes(width, height, channels, value):
    """A PNG whose pixel (x, y) has the channels value(x, y)."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in value(x, y)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def read_png(path):
    """(width, height, channels, rows of samples, text chunks); no filter but None to Paeth."""
    data, at, idat, text = path.read_bytes(), 8, b"", {}
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            idat += body
        elif kind == b"tEXt":
            key, value = body.split(b"\0", 1)
            text[key.decode()] = value.decode()
    channels = {0: 1, 2: 3}[colour]
    raw, stride, rows, before = zlib.decompress(idat), width * channels, [], bytes(width * channels)
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for i in range(stride):
            left = line[i - channels] if i >= channels else 0
            up, corner = before[i], before[i - channels] if i >= channels else 0
            p = left + up - corner
            paeth = min((left, up, corner), key=lambda v: abs(p - v))
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[kind]) % 256
        rows.append(bytes(line))
        before = rows[-1]
    return width, height, channels, rows, text


class RefusalTest(program.ProgramTest):
    def assert_refused(self, arguments, *words):
        done = program.run(*arguments, cwd=self.folder)
        self.assertEqual(done.returncode, 2, f"{arguments}: {done.stderr}")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)


class EditTest(RefusalTest):
    def setUp(self):
        super().setUp()
        self.train_tiny()
        self.write("photo.png", png_bytes(8, 8, 1, lambda x, y: [20 * x + 10 * y]))
        self.write("wide.png", png_bytes(64, 32, 3, lambda x, y: [4 * x, 8 * y, 128]))
        self.write("mask.png", png_bytes(8, 8, 1, lambda x, y: [255 if x >= 4 else 0]))

    def edit(self, *arguments):
        return self.run_ok("edit", arguments[0], "run", *arguments[1:], "-q", "--threads", 1)

    def test_inpaint_keeps_the_kept_pixels_and_says_how_it_was_made(self):
        self.edit("inpaint", "photo.png", "mask.png", "--steps", 10, "--jump-length", 3,
                  "--resamples", 2, "--seed", 5, "-o", "a.png", "-o", "a_strip.png", "-o", "all", "-o",
                  "a.npz")
        source, (width, height, channels, rows, text) = (
            read_png(self.folder / "photo.png"), read_png(self.folder / "a.png"))
        self.assertEqual((width, height, channels), (8, 8, 1))
        for y in range(8):
            self.assertEqual(rows[y][:4], source[3][y][:4])
        self.assertNotEqual([row[4:] for row in rows], [row[4:] for row in source[3]])
        for key, value in {"ddpm.edit": "inpaint", "ddpm.sampler": "ddpm", "ddpm.steps": "10",
                           "ddpm.seed": "5", "ddpm.resamples": "2", "ddpm.jump_length": "3"}.items():
            self.assertEqual(text[key], value)
        self.assertEqual(read_png(self.folder / "all/000000.png")[3], rows)
        self.assertGreater(read_png(self.folder / "a_strip.png")[0], 3 * 8)

        self.edit("inpaint", "photo.png", "mask.png", "--steps", 10, "--jump-length", 3,
                  "--resamples", 2, "--seed", 5, "-o", "again.png")
        self.assertEqual(read_png(self.folder / "again.png")[3], rows)

    def test_restoring_takes_no_more_of_another_samplers_file_than_an_explicit_ddpm(self):
        self.run_ok("convert", "run", "deis", "--scheduler", "deis")
        inpaint = ["edit", "inpaint", "deis", "photo.png", "mask.png", "--steps", 6, "--jump-length", 2, "--threads", 1,
                   "-q"]
        self.run_ok(*inpaint, "-o", "left_out.png")
        self.run_ok(*inpaint, "--sampler", "ddpm", "-o", "given.png")
        left_out, given = (read_png(self.folder / name) for name in ("left_out.png", "given.png"))
        self.assertEqual(left_out, given, "pixels and text chunks")
        self.assertEqual(left_out[4]["ddpm.sampler"], "ddpm")

    def test_img2img_at_strength_one_is_the_sample_of_the_seed(self):
        self.edit("img2img", "photo.png", "--strength", 1, "--steps", 5, "--seed", 3, "-o", "b.png")
        self.run_ok("sample", "run", "-n", 1, "--steps", 5, "--seed", 3, "-o", "plain", "-q",
                    "--threads", 1)
        self.assertEqual(read_png(self.folder / "b.png")[3],
                         read_png(self.folder / "plain/000000.png")[3])
        self.edit("img2img", "wide.png", "--strength", 0.2, "--steps", 5, "-n", 3, "-o", "c.png")
        self.assertEqual(read_png(self.folder / "c.png")[4]["ddpm.strength"], "0.2")

    def test_superres_reduces_to_its_source(self):
        self.write("small.png", png_bytes(4, 4, 1, lambda x, y: [40 + 30 * x + 10 * y]))
        self.edit("superres", "small.png", "--factor", 2, "--steps", 12, "-o", "d.png")
        width, height, _, rows, _ = read_png(self.folder / "d.png")
        self.assertEqual((width, height), (8, 8))
        for y in range(4):
            for x in range(4):
                square = [rows[2 * y + j][2 * x + i] for j in (0, 1) for i in (0, 1)]
                if min(square) > 0 and max(square) < 255:  # else a pixel was cut to what can be shown
                    self.assertAlmostEqual(sum(square) / 4, 40 + 30 * x + 10 * y, delta=0.51)

    def test_a_model_trained_for_it_enlarges_images_and_does_nothing_else(self):
        self.train_tiny("enlarger", "train.super_resolution=2", "train.preview_every=10")
        self.assertTrue(list((self.folder / "enlarger/samples").iterdir()))
        self.write("small.png", png_bytes(4, 4, 1, lambda x, y: [40 + 30 * x + 10 * y]))
        enlarge = ["edit", "superres", "enlarger", "small.png", "--steps", 5]
        self.run_ok(*enlarge, "-n", 2, "-o", "big", "-o", "big_strip.png", "-q", "--threads", 1)
        width, height, _, rows, text = read_png(self.folder / "big/000001.png")
        self.assertEqual((width, height), (8, 8))
        self.assertEqual((text["ddpm.edit"], text["ddpm.factor"], text["ddpm.sampler"]),
                         ("superres", "2", "ddim"))
        self.assertNotIn("ddpm.resamples", text)
        self.write("other.png", png_bytes(4, 4, 1, lambda x, y: [200 - 30 * x]))
        self.run_ok("edit", "superres", "enlarger", "other.png", "--steps", 5, "-n", 2, "-o", "other",
                    "-q", "--threads", 1)
        self.assertNotEqual(read_png(self.folder / "other/000001.png")[3], rows)
        for arguments, word in (
                ([*enlarge, "--factor", 4], "expected what the model was trained for, 2, got 4"),
                ([*enlarge, "--resamples", 2], "--resamples"),
                (["sample", "enlarger", "-n", 1], "ddpm edit superres"),
                (["edit", "img2img", "enlarger", "photo.png"], "ddpm edit superres")):
            with self.subTest(arguments):
                self.assert_refused(arguments, word)

    def test_interpolation_is_a_strip_and_an_animation(self):
        self.edit("interpolate", "photo.png", "wide.png", "--frames", 4, "--steps", 5, "-o",
                  "e_strip.png", "-o", "e.webp")
        self.assertEqual((self.folder / "e.webp").read_bytes()[8:16], b"WEBPVP8X")
        text = read_png(self.folder / "e_strip.png")[4]
        for key, value in {"ddpm.edit": "interpolate", "ddpm.sampler": "ddim", "ddpm.steps": "5",
                           "ddpm.clip": "none"}.items():
            self.assertEqual(text[key], value)
        self.assertFalse({"ddpm.seed", "ddpm.first_image", "ddpm.eta"} & text.keys())
        self.edit("interpolate", "--seeds", "3,9", "--frames", 3, "--steps", 5, "-o", "path")
        self.run_ok("sample", "run", "-n", 1, "--seed", 9, "--steps", 5, "-o", "nine", "-q",
                    "--threads", 1)
        self.assertEqual(read_png(self.folder / "path/000002.png")[3],
                         read_png(self.folder / "nine/000000.png")[3])

    def test_colorize_needs_colours_and_keeps_the_mean_of_the_channels(self):
        self.assert_refused(["edit", "colorize", "run", "photo.png"], "RGB", "1 channel")
        self.train_tiny("colour", "data.channels=3")
        self.run_ok("edit", "colorize", "colour", "photo.png", "--steps", 12, "-o", "f.png", "-q")
        _, _, channels, rows, _ = read_png(self.folder / "f.png")
        self.assertEqual(channels, 3)
        source = read_png(self.folder / "photo.png")[3]
        for y in range(8):
            for x in range(8):
                pixel = rows[y][3 * x:3 * x + 3]
                if min(pixel) > 0 and max(pixel) < 255:
                    self.assertAlmostEqual(sum(pixel) / 3, source[y][x], delta=0.51)

    def test_what_does_not_fit_is_refused_in_one_sentence(self):
        edit = lambda *arguments: ["edit", arguments[0], "run", *arguments[1:]]
        self.write("black.png", png_bytes(8, 8, 1, lambda x, y: [0]))
        for arguments, word in (
                (edit("inpaint", "missing.png", "mask.png"), "missing.png"),
                (edit("inpaint", "photo.png", "black.png"), "white"),
                (edit("inpaint", "photo.png", "mask.png", "--sampler", "unipc"), "stand alone"),
                (edit("inpaint", "photo.png", "mask.png", "--resamples", 0), "--resamples"),
                (edit("inpaint", "photo.png", "mask.png", "-o", "x.webp"), "interpolation"),
                (edit("img2img", "photo.png", "--strength", 0), "strength"),
                (edit("superres", "photo.png", "--factor", 3), "divisor"),
                (edit("interpolate", "photo.png"), "two images"),
                (edit("interpolate", "photo.png", "photo.png", "--seeds", "1,2"), "two images"),
                (edit("interpolate", "photo.png", "wide.png", "--sampler", "euler"), "ddim"),
                (edit("interpolate", "--seeds", "1,2", "--sampler", "ddpm"), "without noise"),
                (edit("interpolate", "photo.png", "wide.png", "--clip", "clip"), "--clip"),
                (edit("interpolate", "photo.png", "wide.png", "--eta", 0.5), "--eta"),
                (edit("interpolate", "photo.png", "wide.png", "--order", 2), "--order"),
                (["sample", "run", "--guidance", 3], "class_dropout"),
                (["sample", "run", "--guidance-rescale", 0.5], "--guidance"),
                (["sample", "run", "--guidance", -1], "--guidance"),
                (["sample", "run", "--guidance", 3, "--guide-model", "run", "--guidance-interval", 5],
                 "two ascending")):
            with self.subTest(arguments):
                self.assert_refused(arguments, word)
        self.assertFalse((self.folder / "inpainted.png").exists())


class GuidanceTest(program.ProgramTest):
    CLASSES = ("train.class_conditional=true", "train.class_dropout=0.2")

    def sample(self, name, *arguments):
        self.run_ok("sample", "run", "-n", 2, "--steps", 5, "-o", name, "-q", "--threads", 1,
                    *arguments)
        return [read_png(self.folder / name / f"00000{i}.png") for i in range(2)]

    def test_guidance_changes_samples_and_is_written_down(self):
        self.train_tiny("run", *self.CLASSES)
        plain = self.sample("plain", "--class", 1)
        guided = self.sample("guided", "--class", 1, "--guidance", 4, "--guidance-rescale", 0.5,
                             "--guidance-interval", "0.1,50")
        self.assertNotEqual(plain[0][3], guided[0][3])
        for key, value in {"ddpm.guidance": "4", "ddpm.guidance_rescale": "0.5",
                           "ddpm.guidance_interval": "0.1,50", "ddpm.class": "1"}.items():
            self.assertEqual(guided[0][4][key], value)
        self.assertNotIn("ddpm.guidance", plain[0][4])
        none = self.sample("none", "--class", "none")
        zero = self.sample("zero", "--class", 1, "--guidance", 0)
        for got, expected in zip(zero, none):  # one batch of twice the size: a rounding may differ
            for a, b in zip(b"".join(got[3]), b"".join(expected[3])):
                self.assertAlmostEqual(a, b, delta=1)

    def test_a_weaker_model_guides(self):
        self.train_tiny("run", *self.CLASSES)
        first = sorted((self.folder / "run/checkpoints").iterdir())[0]
        guided = self.sample("auto", "--class", 0, "--guidance", 2, "--guide-model", first)
        self.assertEqual(len(guided[0][4]["ddpm.guide_model"]), 12)


class ClassifierTest(RefusalTest):
    CLASSIFIER = ("model.kind=classifier", "model.classifier.block_out_channels=[8,16]",
                  "model.classifier.attention_head_dim=8", "model.classifier.norm_num_groups=4",
                  "loss.kind=cross_entropy")

    def sample(self, name, *arguments):
        self.run_ok("sample", "run", "-n", 2, "--steps", 5, "-o", name, "-o", f"{name}.npz", "-q",
                    "--threads", 1, *arguments)
        return read_png(self.folder / name / "000000.png")

    def test_leads_a_model_without_classes_to_one_of_the_classifiers(self):
        self.train_tiny()
        self.train_tiny("judge", *self.CLASSIFIER)
        self.assertEqual(list((self.folder / "judge/samples").iterdir()), [])
        self.assertIn("accuracy", (self.folder / "judge/metrics.csv").read_text())
        self.assertIn("classifier", self.run_ok("info", "judge/model").stdout)
        self.run_ok("convert", "judge", "copy")

        plain = self.sample("plain")
        guided = self.sample("guided", "--classifier", "judge", "--classifier-scale", 20, "--class", "star")
        self.assertNotEqual(plain[3], guided[3])
        self.assertEqual(len(guided[4]["ddpm.classifier"]), 12)
        self.assertEqual(guided[4]["ddpm.classifier_scale"], "20")
        self.assertEqual(guided[4]["ddpm.class"], "star")
        self.assertEqual(zipfile.ZipFile(self.folder / "guided.npz").namelist(), ["arr_0.npy", "arr_1.npy"])
        again = self.sample("again", "--classifier", "copy", "--classifier-scale", 20, "--class", "star")
        self.assertEqual(again[3], guided[3])
        self.assertEqual(self.sample("off", "--classifier", "judge", "--classifier-scale", 0)[3], plain[3])
        self.run_ok("edit", "interpolate", "run", "--seeds", "1,2", "--frames", 2, "--steps", 5, "-q",
                    "--classifier", "judge", "--class", "star", "-o", "path.npz")

        for arguments, word in (
                (["sample", "judge"], "got a classifier"),
                (["edit", "interpolate", "judge", "--seeds", "1,2"], "got a classifier"),
                (["sample", "run", "--classifier", "run"], "got a model of kind unet2d"),
                (["sample", "run", "--classifier-scale", 2], "--classifier with it"),
                (["sample", "run", "--classifier", "judge", "--classifier-scale", -1], "at least 0"),
                (["sample", "run", "--classifier", "judge", "--classifier-scale", "nan"], "at least 0"),
                (["sample", "run", "--classifier", "judge", "--class", "unicorn"], "star"),
                (["edit", "interpolate", "run", "--seeds", "1,2", "--classifier", "judge"], "--class")):
            with self.subTest(arguments):
                self.assert_refused(arguments, word)

    def test_the_noise_of_both_is_the_same(self):
        self.train_tiny()
        self.train_tiny("judge", *self.CLASSIFIER, "diffusion.schedule=linear", "train.steps=2")
        self.assert_refused(["sample", "run", "--classifier", "judge"], "the same noise schedule")


if __name__ == "__main__":
    program.main()
