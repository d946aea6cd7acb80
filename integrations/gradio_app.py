"""A Gradio page over the API of `ddpm serve`: python integrations/gradio_app.py [--server URL] [--port 7861].

The page draws nothing itself: it asks /v1/models and /v1/capabilities what there is, starts a job, and follows the
job's events. The key of a server that wants one is read from DDPM_API_KEY, and never reaches the browser.
"""
import argparse
import base64
import contextlib
import io
import json
import os
import time

import gradio as gr
import httpx
import PIL.Image

EACH_IN_TURN = "each in turn"
MODELS_OWN = "the model's own"
PREVIEW_SECONDS = 0.4  # Gradio stores each picture of each gallery that it shows


class Server:
    """What the page needs of /v1 (docs/http_api.md)."""

    def __init__(self, url, key=None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Events come at least every 15 s, as pings; reading longer for nothing means that the server is gone.
        self.http = httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(10, read=60))

    def ask(self, method, path, **options):
        """The answer, or gr.Error with the server's own sentence."""
        try:
            answer = self.http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise failure(f"The server does not answer: {error}") from error
        if answer.is_error:
            raise failure(error_sentence(answer))
        return answer

    def models(self):
        """Those that draw from noise alone: the page gives no image to enlarge."""
        models = self.ask("GET", "/v1/models").json()["data"]
        return {model["id"]: model["ddpm"] for model in models if not model["ddpm"].get("super_resolution")}

    def capabilities(self):
        return self.ask("GET", "/v1/capabilities").json()

    def events(self, job):
        """(name, data) of each event of a job, to its end."""
        name = None
        with self.http.stream("GET", job["links"]["events"]) as answer:
            if answer.is_error:
                answer.read()
                raise failure(error_sentence(answer))
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))

    def cancel(self, job):
        """Ends a job that is open; one that is over stays, with its images."""
        with contextlib.suppress(gr.Error):  # forgotten, or the server is gone: nothing is left to end
            if job and self.ask("GET", job["links"]["self"]).json()["finished_at"] is None:
                self.ask("DELETE", job["links"]["cancel"])


def failure(sentence):
    """What the page shows; no stack in its log, since nothing is wrong with it."""
    return gr.Error(sentence, print_exception=False)


def error_sentence(answer):
    try:
        return answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code}."


def picture(data_url):
    return PIL.Image.open(io.BytesIO(base64.b64decode(data_url.split(",", 1)[1])))


def generation(model, n, class_name, sampler, steps, seed, guidance):
    """The body of POST /v1/jobs; what is empty is left to the server."""
    body = {"model": model, "num_images": n, "previews": True, "sampler": {}}
    if sampler != MODELS_OWN:
        body["sampler"]["kind"] = sampler
    if steps:
        body["sampler"]["steps"] = steps
    if seed.strip():
        if not seed.strip().isdecimal():
            raise failure(f"[seed] expected a whole number from 0 on, or nothing, got '{seed}'")
        body["seed"] = int(seed)
    if class_name and class_name != EACH_IN_TURN:
        body["class"] = class_name
    if guidance is not None and guidance != 1:
        body["guidance"] = {"scale": guidance}
    return body


def draw(server, *choices, progress):
    """Yields (job, gallery, details, status) as a job goes on; one that is left is cancelled."""
    job = server.ask("POST", "/v1/jobs", json=generation(*choices)).json()
    previews, shown = {}, 0.0
    yield job, [], job["request"], "Begun."
    try:
        for name, data in server.events(job):
            if name == "state" and data["state"] == "queued":
                yield job, [], job["request"], f"Waiting: {data['position']} before it."
            elif name == "progress":
                progress((data["step"], data["steps"]), desc="denoising", unit="steps")
            elif name == "preview":
                previews[data["index"]] = (picture(data["pred_x_start"]), f"x_0 as predicted at t = {data['t']:.4g}")
                if time.monotonic() - shown < PREVIEW_SECONDS:
                    continue
                shown = time.monotonic()
                yield job, [previews[i] for i in sorted(previews)], job["request"], f"Step {data['step']}"
            elif name == "end":
                if data["error"]:
                    raise failure(data["error"]["message"])
                break
        done = server.ask("GET", job["links"]["self"]).json()
        yield job, *finished(server, done)
    finally:
        server.cancel(job)


def finished(server, job):
    classes = job["request"].get("class") or []
    gallery = []
    for image in job["images"]:
        png = server.ask("GET", image["url"]).content
        caption = classes[image["index"]] if image["index"] < len(classes) else f"image {image['index']}"
        gallery.append((PIL.Image.open(io.BytesIO(png)), caption))
    word = "Done" if job["state"] == "succeeded" else "Stopped"
    return gallery, job["request"], f"{word}, with seed {job['request']['seed']}."


def make_page(server):
    models, capabilities = server.models(), server.capabilities()
    limits = capabilities["limits"]
    if not models:
        raise failure("The server has no model that draws from noise alone.")
    first = next(iter(models))

    def classes_of(model):
        return [EACH_IN_TURN, *(models[model]["classes"] or [])]

    def on_model(model):
        has_classes = bool(models[model]["classes"])
        return (gr.update(choices=classes_of(model), value=EACH_IN_TURN, interactive=has_classes),
                gr.update(value=1, interactive=has_classes))

    with gr.Blocks(title="ddpm") as page:
        gr.Markdown("# Noise becomes images")
        with gr.Row():
            with gr.Column():
                model = gr.Dropdown(list(models), value=first, label="model")
                has_classes = bool(models[first]["classes"])
                class_name = gr.Dropdown(classes_of(first), value=EACH_IN_TURN, label="class", interactive=has_classes)
                sampler = gr.Dropdown([MODELS_OWN, *(each["kind"] for each in capabilities["samplers"])],
                                      value=MODELS_OWN, label="sampler")
                steps = gr.Number(20, label="steps", info="0: the sampler's own", precision=0, minimum=0, maximum=limits["max_steps"])
                n = gr.Slider(1, limits["max_images"], value=min(4, limits["max_images"]), step=1, label="images")
                # Text: an empty Number comes as 0, and numbers of JavaScript hold no 64 bits.
                seed = gr.Textbox("", label="seed", info="empty: a new one", max_lines=1)
                guidance = gr.Slider(0, 10, value=1, step=0.5, label="guidance", interactive=has_classes)
                with gr.Row():
                    start = gr.Button("Draw", variant="primary")
                    stop = gr.Button("Stop")
            with gr.Column():
                gallery = gr.Gallery(label="images", format="png", columns=4)
                status = gr.Textbox(label="status", interactive=False)
                details = gr.JSON(label="request")

        def on_draw(model, n, class_name, sampler, steps, seed, guidance, progress=gr.Progress()):
            yield from draw(server, model, n, class_name, sampler, steps, seed, guidance, progress=progress)

        choices = [model, n, class_name, sampler, steps, seed, guidance]
        model.change(on_model, model, [class_name, guidance], api_name=False)
        job = gr.State()
        start.click(on_draw, choices, [job, gallery, details, status], api_name="draw", concurrency_limit=8)
        # Not by `cancels`, which acts when the next picture comes.
        stop.click(server.cancel, job, api_name="stop")
    return page


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://127.0.0.1:7860", help="address of ddpm serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7861)
    options = parser.parse_args()
    page = make_page(Server(options.server, os.environ.get("DDPM_API_KEY")))
    page.queue().launch(server_name=options.host, server_port=options.port, quiet=True)


if __name__ == "__main__":
    main()
