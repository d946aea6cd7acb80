// Packs a built site for the program: node scripts/embed.mjs DIST OUT [DEPENDENCY...]
// OUT/site.pack holds every file twice, as it is and compressed; OUT/site_files.inc says where, in C++;
// OUT/site.d tells the build which files the site came from.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';

const [dist, out, ...dependencies] = process.argv.slice(2);
if (!dist || !out) throw new Error('expected DIST OUT [DEPENDENCY...]');

const filesBelow = (folder) =>
  readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => statSync(path).isFile());

/** Leaves a file that has the same content alone, so that nothing is compiled again. */
function write(name, content) {
  const path = join(out, name);
  const bytes = Buffer.from(content);
  if (!existsSync(path) || !readFileSync(path).equals(bytes)) writeFileSync(path, bytes);
}

const names = filesBelow(dist)
  .map((path) => path.slice(dist.length + 1))
  .sort();
const pieces = names.flatMap((name) => {
  const bytes = readFileSync(join(dist, name));
  return [bytes, gzipSync(bytes, { level: 9 })];
});
const lines = names.map(
  (name, i) =>
    `    {${JSON.stringify(name)}, ${pieces[2 * i].length}, ${pieces[2 * i + 1].length}},\n`,
);
write('site.pack', Buffer.concat(pieces));
write(
  'site_files.inc',
  `constexpr std::array<PackedFile, ${names.length}> kPackedFiles{{\n${lines.join('')}}};\n`,
);
const sources = dependencies.flatMap((path) =>
  statSync(path).isDirectory() ? filesBelow(path) : [path],
);
const escape = (path) => resolve(path).replaceAll(' ', '\\ ').replaceAll('$', '$$');
write('site.d', `${escape(join(out, 'site.pack'))}: ${sources.map(escape).join(' \\\n  ')}\n`);
