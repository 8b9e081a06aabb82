import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface TokenizerFile {
  readonly model: { vocab: Record<string, number>; merges: [string, string][] };
}

/**
 * A checkpoint of random weights that reads text: a tiny one of test/data/parity, with as much of the bundled
 * model's tokenizer as its vocabulary holds. Text goes through it in no time.
 */
export function tinyModel(folder: string, name: string): string {
  const path = join(folder, name);
  cpSync(join(root, 'test/data/parity', name), path, { recursive: true });
  const { vocab_size } = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as {
    vocab_size: number;
  };
  const tokenizer = JSON.parse(
    readFileSync(join(root, 'models/books-6m/tokenizer.json'), 'utf8'),
  ) as TokenizerFile;
  const { model } = tokenizer;
  const known = (token: string): boolean => model.vocab[token] < vocab_size;
  model.merges = model.merges.filter(([a, b]) => known(a) && known(b) && known(a + b));
  model.vocab = Object.fromEntries(Object.entries(model.vocab).filter(([token]) => known(token)));
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(tokenizer));
  return path;
}
