// Gradio's JavaScript client: node gradio_client_talk.mjs URL [KEY]
import assert from "node:assert/strict";
import { Client } from "@gradio/client";

const [url, key] = process.argv.slice(2);
const options = key ? { token: key, events: ["data", "status"] } : { events: ["data", "status"] };
const client = await Client.connect(url, options);
const api = await client.view_api();
assert.equal(api.named_endpoints["/generate"].parameters.length, 7);

const bytes = async (item) => new Uint8Array(await (await fetch(item.image.url)).arrayBuffer());

// By name, with defaults for the rest; the images' addresses need no key.
const { data } = await client.predict("/generate", { n: 2, seed: 7, steps: 5, sampler: "ddim" });
assert.equal(data[0].length, 2);
assert.equal(data[1].seed, 7);
const first = await bytes(data[0][0]);
assert.deepEqual([...first.slice(1, 4)], [0x50, 0x4e, 0x47]);
const again = await client.predict("/generate", ["shapes", 1, 7, 5, "ddim", null, 1]);
assert.deepEqual(await bytes(again.data[0][0]), first);

// Progress and pictures on the way.
const job = client.submit("/generate", { n: 48, seed: 1, steps: 50, sampler: "ddpm" });
const stages = new Set();
const outputs = [];
for await (const message of job) {
  if (message.type === "status") stages.add(message.stage);
  if (message.type === "data") outputs.push(message.data);
  if (message.type === "status" && (message.stage === "complete" || message.stage === "error")) break;
}
assert.ok(outputs.length >= 2, `${outputs.length} outputs`);
assert.match(outputs[0][0][0].image.url, /^data:image\/png;base64,/);
assert.equal(outputs.at(-1)[0].length, 48);
assert.match(outputs.at(-1)[0][0].image.url, /\/gradio_api\/file=img\//);

// Several at once.
const seeds = await Promise.all(
  [0, 1, 2, 3, 4, 5].map(async (seed) => (await client.predict("/generate", { n: 1, seed, steps: 8 })).data[1].seed));
assert.deepEqual(seeds, [0, 1, 2, 3, 4, 5]);

// Cancel.
const long = client.submit("/generate", { n: 64, steps: 50, sampler: "ddpm" });
await new Promise((resolve) => setTimeout(resolve, 50));
await long.cancel();

// What is wrong is named.
await assert.rejects(async () => client.predict("/generate", { n: -1 }), (error) => /"parameter_name":"n"/.test(error.message ?? JSON.stringify(error)));
if (key) await assert.rejects(async () => Client.connect(url));
console.log(JSON.stringify({ stages: [...stages] }));
client.close();
process.exit(0);
