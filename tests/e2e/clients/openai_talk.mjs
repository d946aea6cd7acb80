// OpenAI's JavaScript client: node openai_talk.mjs URL [KEY]
import assert from "node:assert/strict";
import OpenAI from "openai";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url.replace(/\/$/, "") + "/v1", apiKey: key ?? "none", maxRetries: 0 });
assert.deepEqual((await client.models.list()).data.map((model) => model.id), ["shapes"]);

const isPng = (base64) => Buffer.from(base64, "base64").subarray(1, 4).toString() === "PNG";
const answer = await client.images.generate({ model: "shapes", prompt: "", n: 2, seed: 7, sampler: { kind: "ddim", steps: 5 } });
assert.equal(answer.data.length, 2);
assert.equal(answer.seed, 7);
assert.ok(isPng(answer.data[0].b64_json));

const types = [];
const stream = await client.images.generate({ model: "shapes", prompt: "", stream: true, partial_images: 2, sampler: { kind: "ddpm" } });
for await (const event of stream) {
  types.push(event.type);
  assert.ok(isPng(event.b64_json));
}
assert.equal(types.at(-1), "image_generation.completed");

await assert.rejects(client.images.generate({ model: "shapes", prompt: "a cat" }),
  (error) => error instanceof OpenAI.BadRequestError && error.param === "prompt" && Boolean(error.requestID));
await assert.rejects(client.images.generate({ model: "dall-e-3", prompt: "" }),
  (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
console.log(JSON.stringify({ events: types }));
