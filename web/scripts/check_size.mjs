// Fails the build when the page's scripts grow over their limit. Sizes are of the files as they are served.
// node scripts/check_size.mjs [FOLDER]: of dist/, or of another build.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';

const kMaxScriptBytes = 200_000; // issue's limit: 300 kB
const kMaxSiteBytes = 300_000;
const folder = process.argv[2]
  ? new URL(`${pathToFileURL(process.argv[2])}/`)
  : new URL('../dist/', import.meta.url);
const files = readdirSync(folder, { recursive: true })
  .map(String)
  .filter((name) => statSync(new URL(name, folder)).isFile());

let scripts = 0,
  site = 0,
  zipped = 0;
for (const name of files) {
  const bytes = readFileSync(new URL(name, folder));
  site += bytes.length;
  if (!name.endsWith('.js')) continue;
  scripts += bytes.length;
  zipped += gzipSync(bytes).length;
}
const kb = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
console.log(
  `scripts ${kb(scripts)} (${kb(zipped)} gzipped), site ${kb(site)} in ${files.length} files`,
);

const page = readFileSync(new URL('index.html', folder), 'utf8');
const inline = /<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son[a-z]+=|https?:\/\//i.exec(page);
if (inline)
  throw new Error(
    `index.html: expected nothing inline and nothing from elsewhere, got ${inline[0]}`,
  );
if (scripts > kMaxScriptBytes)
  throw new Error(`scripts: expected at most ${kb(kMaxScriptBytes)}, got ${kb(scripts)}`);
if (site > kMaxSiteBytes)
  throw new Error(`site: expected at most ${kb(kMaxSiteBytes)}, got ${kb(site)}`);
