"""OpenAI's Python client: openai_talk.py URL [KEY]."""
import base64
import io
import json
import sys
import urllib.request

import openai
import PIL.Image

url, key = sys.argv[1].rstrip("/"), (sys.argv[2:] or ["none"])[0]
client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
assert [model.id for model in client.models.list()] == ["shapes"]
assert client.models.retrieve("shapes").owned_by == "ddpm"

more = {"seed": 7, "sampler": {"kind": "ddim", "steps": 5}}
answer = client.images.generate(model="shapes", prompt="", n=2, size="8x8", extra_body=more)
assert len(answer.data) == 2 and answer.size == "8x8" and answer.seed == 7, answer
picture = PIL.Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json)))
assert picture.size == (8, 8) and picture.text["ddpm.seed"] == "7"

answer = client.images.generate(model="shapes", prompt="", response_format="url", output_format="webp", extra_body=more)
request = urllib.request.Request(answer.data[0].url, headers={"Authorization": f"Bearer {key}"})
webp = PIL.Image.open(io.BytesIO(urllib.request.urlopen(request).read()))
assert webp.format == "WEBP" and webp.convert("L").tobytes() == picture.convert("L").tobytes()

types = []
for event in client.images.generate(model="shapes", prompt="", stream=True, partial_images=2,
                                    extra_body={"sampler": {"kind": "ddpm"}}):
    types.append(event.type)
    assert PIL.Image.open(io.BytesIO(base64.b64decode(event.b64_json))).size == (8, 8)
assert types[-1] == "image_generation.completed" and set(types[:-1]) <= {"image_generation.partial_image"}, types

for arguments, kind, parameter in [({"prompt": "a cat"}, openai.BadRequestError, "prompt"),
                                   ({"size": "1024x1024"}, openai.BadRequestError, "size"),
                                   ({"model": "dall-e-3"}, openai.NotFoundError, "model")]:
    try:
        client.images.generate(**{"model": "shapes", "prompt": "", **arguments})
    except openai.APIStatusError as error:
        assert isinstance(error, kind) and error.param == parameter and error.request_id, error
    else:
        raise AssertionError(f"{arguments} were taken")
if key != "none":
    try:
        openai.OpenAI(base_url=url + "/v1", api_key=key + "x", max_retries=0).models.list()
    except openai.AuthenticationError:
        pass
    else:
        raise AssertionError("the server opened with a wrong key")
print(json.dumps({"openai": openai.__version__, "events": types}))
