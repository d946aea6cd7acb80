"""Drives integrations/gradio_app.py as its page does: gradio_app_talk.py URL_OF_THE_PAGE URL_OF_THE_SERVER KEY."""
import json
import pathlib
import sys
import tempfile
import time
import urllib.request

import gradio_client
import PIL.Image

client = gradio_client.Client(sys.argv[1], verbose=False, download_files=tempfile.mkdtemp())
MODEL = ("shapes", 2, "each in turn")


def pixels(gallery):
    return [PIL.Image.open(pathlib.Path(item["image"])).convert("L").tobytes() for item in gallery]


gallery, request, status = client.predict(*MODEL, "ddim", 5, "7", 1, api_name="/draw")
assert len(gallery) == 2 and request["seed"] == 7 and request["sampler"]["steps"] == 5, request
assert "seed 7" in status, status
again, _, _ = client.predict(*MODEL, "ddim", 5, "7", 1, api_name="/draw")
assert pixels(again) == pixels(gallery)

job = client.submit("shapes", 16, "each in turn", "ddpm", 50, "", 1, api_name="/draw")
gallery, request, _ = job.result(timeout=60)
assert len(gallery) == 16 and request["seed"] > 0, request
assert any("Step" in output[2] for output in job.outputs()), "no pictures on the way"



def newest_state():
    request = urllib.request.Request(sys.argv[2] + "/v1/jobs?limit=1", headers={"Authorization": f"Bearer {sys.argv[3]}"})
    return json.load(urllib.request.urlopen(request))["data"][0]["state"]


# Stop ends the job on the server, and the page shows what there is.
stopped = client.submit("shapes", 64, "each in turn", "heun", 50, "", 1, api_name="/draw")
deadline = time.monotonic() + 20
while not stopped.outputs() and time.monotonic() < deadline:
    time.sleep(0.01)
client.predict(api_name="/stop")
while newest_state() == "running" and time.monotonic() < deadline:
    time.sleep(0.02)
assert newest_state() == "cancelled", newest_state()
gallery, _, status = stopped.result(timeout=20)
assert len(gallery) < 64 and status.startswith("Stopped"), status

for steps, seed, text in [(900, "7", "steps"), (5, "seven", "[seed] expected a whole number")]:
    try:
        client.predict(*MODEL, "dpmpp_2m", steps, seed, 1, api_name="/draw")
    except Exception as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"{steps} steps of seed {seed} were taken")
print(json.dumps({"outputs": len(job.outputs())}))
