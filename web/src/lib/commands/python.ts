import { stringifyRequest } from '../api/json.ts';
import type { JobRequest } from '../api/types.ts';

/** Draws the request with Python's requests and writes the images. */
export function pythonScript(request: JobRequest, origin: string, needsKey: boolean): string {
  const headers = needsKey
    ? `\n    headers={"Authorization": "Bearer " + os.environ["DDPM_API_KEY"]},`
    : '';
  const single = request.num_images === 1;
  return `${single ? '' : 'import base64\n'}${needsKey ? 'import os\n' : ''}import requests

request = ${pythonLiteral(stringifyRequest(request, 4))}
response = requests.post(
    "${origin}/v1/generate",
    json=request,${headers}
    timeout=600,
)
response.raise_for_status()
${single ? kOneImage : kSeveralImages}`;
}

const kOneImage = `with open("image.png", "wb") as file:
    file.write(response.content)
`;

const kSeveralImages = `for i, image in enumerate(response.json()["images"]):
    with open(f"image_{i}.png", "wb") as file:
        file.write(base64.b64decode(image["b64"]))
`;

/** JSON is Python but for three words; those inside strings stay. */
function pythonLiteral(json: string): string {
  const words: Record<string, string> = { true: 'True', false: 'False', null: 'None' };
  return json.replace(
    /"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g,
    (token) => words[token] ?? token,
  );
}
