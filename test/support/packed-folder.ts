/** Packed checkpoints in a folder that is removed when the tests of the file are done, and broken copies of them. */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import type { WeightType } from '../../src/loaders/convert.ts';
import { rowReader } from '../../src/rows.ts';
import type { Tensor } from '../../src/tensor.ts';
import { loadCheckpoint } from './by-path.ts';
import { packCheckpoint, type Packed, type Stored, type Tensors, writeTensors } from './packed.ts';

const parity = fileURLToPath(new URL('../data/parity/', import.meta.url));

export const folder = mkdtempSync(join(tmpdir(), 'dejavu-packed-'));
afterAll(() => rmSync(folder, { recursive: true }));
let made = 0;
const known = new Map<string, ReturnType<typeof packCheckpoint>>();

export const gptq: Packed = { form: 'gptq', bits: 4, group: 32, symmetric: true };
export const ct: Packed = { form: 'pack-quantized', bits: 4, group: 32, symmetric: true };
export const awq: Packed = { form: 'awq', bits: 4, group: 32, symmetric: false };

/** A parity checkpoint packed, and unpacked; made once. */
export function packed(model: string, how: Packed): ReturnType<typeof packCheckpoint> {
  const key = JSON.stringify([model, how]);
  const paths = known.get(key) ?? packCheckpoint(parity + model, join(folder, String(made++)), how);
  known.set(key, paths);
  return paths;
}

async function decoded(backend: Backend, tensor: Tensor): Promise<Float32Array> {
  const [bytes] = await backend.read([tensor]);
  const width = tensor.shape.at(-1)!;
  const read = rowReader({ ...tensor, bytes });
  const rows = tensor.shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const values = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) read(row, values.subarray(row * width, (row + 1) * width));
  return values;
}

/** Every weight of a checkpoint: its type and its values. */
export async function contents(
  backend: Backend,
  path: string,
  weights: 'auto' | WeightType,
): Promise<Map<string, { dtype: string; values: Float32Array }>> {
  const checkpoint = await loadCheckpoint(path, backend, { weights });
  const all = new Map<string, { dtype: string; values: Float32Array }>();
  for (const name of Object.keys(checkpoint.family.weights(checkpoint.config))) {
    const tensor = checkpoint.weights.find(name);
    if (tensor) all.set(name, { dtype: tensor.dtype, values: await decoded(backend, tensor) });
  }
  checkpoint.release();
  return all;
}

/** A copy of a packed checkpoint with some of its tensors or its configuration changed. */
export async function variant(
  from: string,
  change: { tensors?: (tensors: Tensors) => void; quantization?: (config: Json) => void },
): Promise<string> {
  const path = join(folder, `variant-${made++}`);
  await cp(from, path, { recursive: true });
  const bytes = await readFile(join(from, 'model.safetensors'));
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, Described>;
  delete header.__metadata__;
  const tensors: Tensors = new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype: type,
          shape,
          data_offsets: [a, b],
        },
      ]): [string, Stored] => [
        name,
        { type, shape, bytes: Uint8Array.from(bytes.subarray(start + a, start + b)) },
      ],
    ),
  );
  change.tensors?.(tensors);
  writeTensors(join(path, 'model.safetensors'), tensors);
  const json = JSON.parse(await readFile(join(from, 'config.json'), 'utf8')) as {
    quantization_config: Json;
  };
  change.quantization?.(json.quantization_config);
  await writeFile(join(path, 'config.json'), JSON.stringify(json));
  return path;
}

export type Json = Record<string, unknown>;
interface Described {
  readonly dtype: Stored['type'];
  readonly shape: number[];
  readonly data_offsets: [number, number];
}
