"""Gradio's Python client, of the versions 4 to 6: gradio_client_talk.py URL [KEY]."""
import inspect
import json
import pathlib
import sys
import tempfile
import time
import urllib.request

import gradio_client
import PIL.Image

url, key = sys.argv[1], (sys.argv[2:] or [None])[0]
options = {"verbose": False, "download_files": tempfile.mkdtemp()}
if key:
    has_token = "token" in inspect.signature(gradio_client.Client).parameters
    options["token" if has_token else "hf_token"] = key
client = gradio_client.Client(url, **options)

api = client.view_api(print_info=False, return_format="dict")["named_endpoints"]["/generate"]
assert [p["parameter_name"] for p in api["parameters"]] == ["model", "n", "seed", "steps", "sampler", "class_name", "guidance"], api


def picture(item):
    path = item["image"] if isinstance(item["image"], str) else item["image"]["path"]
    assert pathlib.Path(path).name.endswith(".png"), path
    return PIL.Image.open(path)


# By name, with defaults for the rest; the files come along.
images, info = client.predict(n=2, seed=7, steps=5, sampler="ddim", api_name="/generate")
assert len(images) == 2 and info["seed"] == 7 and info["sampler"]["kind"] == "ddim", info
assert picture(images[0]).size == (8, 8)
assert picture(images[0]).text["ddpm.seed"] == "7"
again, _ = client.predict("shapes", 1, 7, 5, "ddim", api_name="/generate")
assert picture(again[0]).tobytes() == picture(images[0]).tobytes()

# Progress and pictures on the way.
job = client.submit(n=48, seed=1, steps=50, sampler="ddpm", api_name="/generate")
codes = set()
while not job.done():
    codes.add(str(job.status().code))
    time.sleep(0.002)
images, _ = job.result()
assert len(images) == 48
assert len(job.outputs()) >= 2, "no pictures on the way"
assert "t" in job.outputs()[0][1], job.outputs()[0]

# Several at once, over one stream.
jobs = [client.submit(n=1, seed=seed, steps=8, api_name="/generate") for seed in range(6)]
assert [job.result()[1]["seed"] for job in jobs] == list(range(6))

# Cancel: the server stops drawing. What the client makes of its own cancel differs: version 4 may read the empty
# output, which Gradio's server sends then too, before it looks whether it was cancelled.
job = client.submit(n=64, steps=50, sampler="ddpm", api_name="/generate")
time.sleep(0.05)
job.cancel()
try:
    job.result(timeout=20)
except BaseException as error:  # CancelledError is none of Exception
    assert "Cancel" in type(error).__name__ or isinstance(error, KeyError), error
else:
    raise AssertionError("the job went on")


def newest_state():
    request = urllib.request.Request(f"{url}/v1/jobs?limit=1", headers={"Authorization": f"Bearer {key}"} if key else {})
    newest = json.load(urllib.request.urlopen(request))["data"][0]
    assert newest["request"]["num_images"] == 64, newest
    return newest["state"]


deadline = time.monotonic() + 10
while newest_state() == "running" and time.monotonic() < deadline:
    time.sleep(0.02)
assert newest_state() == "cancelled", newest_state()

# What is wrong is named.
for arguments, text in [({"n": -1}, "n"), ({"class_name": "cat"}, "class"), ({"steps": 9999}, "steps")]:
    try:
        client.predict(**arguments, api_name="/generate")
    except Exception as error:
        # Version 4 knows no list of what is wrong, and tells the status.
        assert text in str(error) or "422" in str(error), error
    else:
        raise AssertionError(f"{arguments} were taken")

if key:
    try:
        gradio_client.Client(url, verbose=False)
    except Exception as error:
        assert "key" not in str(error) or key not in str(error)
    else:
        raise AssertionError("the server opened without a key")
print(json.dumps({"gradio_client": gradio_client.__version__, "states": sorted(codes)}))
