import { stringifyRequest } from '../api/json.ts';
import type { JobRequest } from '../api/types.ts';
import { shellWord } from './shell.ts';

/** Draws the request with curl: one image to a file, several as JSON with base64 (docs/http_api.md). */
export function curlCommand(request: JobRequest, origin: string, needsKey: boolean): string {
  const lines = [
    `curl --fail-with-body -sS ${shellWord(`${origin}/v1/generate`)}`,
    ...(needsKey ? ['-H "Authorization: Bearer $DDPM_API_KEY"'] : []),
    `-H 'Content-Type: application/json'`,
    `-d ${shellWord(stringifyRequest(request))}`,
    `-o ${request.num_images === 1 ? 'image.png' : 'images.json'}`,
  ];
  return lines.join(' \\\n  ');
}
