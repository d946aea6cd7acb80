import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import type { JobRequest } from '../src/lib/api/types.ts';
import { sampleCommand } from '../src/lib/commands/cli.ts';
import { curlCommand } from '../src/lib/commands/curl.ts';
import { pythonScript } from '../src/lib/commands/python.ts';
import { shellWord } from '../src/lib/commands/shell.ts';

const request: JobRequest = {
  model: "it's mine",
  num_images: 2,
  seed: '18446744073709551615',
  first_image: 3,
  class: 'T-shirt/top',
  sampler: { kind: 'dpmpp_2m', steps: 20, s_tmax: 100, lower_order_final: false },
  guidance: { scale: 3, rescale: 0.5, interval: [0.3, 5] },
};

describe('shellWord', () => {
  it('comes through a shell as it was', () => {
    for (const word of ["it's", 'a b', '$HOME `x` "q"', 'plain', "''", '\\', '-n']) {
      assert.equal(
        execFileSync('sh', ['-c', `printf %s ${shellWord(word)}`], { encoding: 'utf8' }),
        word === '-n' ? '-n' : word,
      );
    }
  });
});

describe('sampleCommand', () => {
  it("has the program's flags", () => {
    assert.equal(
      sampleCommand(request),
      "ddpm sample 'it'\\''s mine' -n 2 --seed 18446744073709551615 --first-image 3 --class T-shirt/top --sampler dpmpp_2m " +
        '--steps 20 --s-tmax 100 --lower-order-final false --guidance 3 --guidance-rescale 0.5 --guidance-interval 0.3,5 -o images.png',
    );
  });
});

describe('curlCommand', () => {
  it('sends the JSON of the request, whatever is in it', () => {
    const command = curlCommand(request, 'http://127.0.0.1:7860', true);
    assert.match(command, /Authorization: Bearer \$DDPM_API_KEY/);
    const args = execFileSync('sh', ['-c', command.replace(/^curl/, 'printf "%s\\n"')], {
      encoding: 'utf8',
    }).split('\n');
    const body = args[args.indexOf('-d') + 1]!;
    assert.match(body, /"seed":18446744073709551615,/);
    assert.equal(JSON.parse(body).model, "it's mine");
    assert.equal(args.includes('images.json'), true);
  });
});

describe('pythonScript', () => {
  it('is Python, with its words for true and false', () => {
    for (const needsKey of [false, true]) {
      for (const num_images of [1, 2]) {
        const named = { ...request, num_images, model: 'say "true" or null' };
        const script = pythonScript(named, 'http://127.0.0.1:7860', needsKey);
        const literal = script.slice(script.indexOf('request = '), script.indexOf('response = '));
        const check = `import ast,sys; ast.parse(sys.stdin.read())\n${literal}\nprint(request["sampler"]["lower_order_final"], request["model"], request["seed"])`;
        const output = execFileSync('python3', ['-c', check], { input: script, encoding: 'utf8' });
        assert.equal(output, 'False say "true" or null 18446744073709551615\n');
      }
    }
  });
});
