"""Prints what TensorBoard reads from a folder: one line a scalar, then one line an image."""
import io
import sys

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0})
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    for scalar in events.Scalars(tag):
        print(f"scalar {tag} {scalar.step} {scalar.value:.9g}")
for tag in sorted(events.Tags()["images"]):
    for image in events.Images(tag):
        pixels = Image.open(io.BytesIO(image.encoded_image_string))
        print(f"image {tag} {image.step} {image.width}x{image.height} {pixels.size} {pixels.mode}")
