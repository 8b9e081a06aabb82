// The hash of native/src. scripts/install.mjs compiles it into the addon; where a checkout has the sources,
// src/backends/native compares, and refuses an addon that was compiled from others.
'use strict';

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

/** Files of a package's native/src, by path relative to it, in order. */
function sourceFiles(packageFolder) {
  const folder = path.join(packageFolder, 'native', 'src');
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(h|cc)$/.test(entry.name))
    .map((entry) => path.relative(folder, path.join(entry.parentPath ?? entry.path, entry.name)))
    .map((name) => name.replaceAll(path.sep, '/'))
    .sort();
}

/** Names and contents of all of them. */
function sourcesHash(packageFolder) {
  const hash = createHash('sha256');
  for (const name of sourceFiles(packageFolder))
    hash
      .update(`${name}\0`)
      .update(fs.readFileSync(path.join(packageFolder, 'native', 'src', name)))
      .update('\0');
  return hash.digest('hex');
}

module.exports = { sourceFiles, sourcesHash };
