/** What others pack is what they unpack it to (scripts/packed.py records both). */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { hostTensor, rowReader } from '../../rows.ts';
import type { WeightType } from '../convert.ts';
import { openFile } from '../fs.ts';
import { readHeader } from '../safetensors.ts';
import { packingOf, unpackedFiles } from './index.ts';
import type { PackedEntry } from './matrix.ts';
import { streamPacked } from './rows.ts';

const recorded = fileURLToPath(new URL('../../../test/data/packed/', import.meta.url));

test.each(readdirSync(recorded))('%s', async (file) => {
  await using source = await openFile(recorded + file);
  const { entries, metadata } = await readHeader(source);
  const config = JSON.parse(metadata.quantization_config) as unknown;
  const packing = packingOf({ quantization_config: config })!;
  const files = { entries, metadata: {}, [Symbol.asyncDispose]: () => Promise.resolve() };
  const found = (await unpackedFiles(file, files, packing)).entries.get('linear.weight')!;
  const { shape, type, offset, bytes } = entries.get('expected')!;
  expect(found.shape).toEqual(shape);
  const dtype = type === 'F16' ? 'f16' : 'f32';
  const expected = await source.read(offset, bytes);
  expect(read({ dtype, shape, bytes: await rowsOf(found, dtype) })).toEqual(
    read({ dtype, shape, bytes: expected }),
  );
  // Our transpose, which is read by other strides.
  const turned = await rowsOf(found, dtype, true);
  const [outputs = 0, inputs = 0] = shape;
  const across = read({ dtype, shape: [inputs, outputs], bytes: turned });
  const along = read({ dtype, shape, bytes: expected });
  across.forEach((x, i) => {
    if (x !== along[(i % outputs) * inputs + Math.floor(i / outputs)])
      expect.unreachable(`input ${Math.floor(i / outputs)}, output ${i % outputs}`);
  });
});

/** A packed matrix in a type of ours: one row an output, or an input. */
async function rowsOf(entry: object, dtype: WeightType, byInputs = false): Promise<Uint8Array> {
  const packed = entry as PackedEntry;
  const shape = byInputs ? [...packed.shape].reverse() : packed.shape;
  const into = hostTensor(dtype, shape);
  const spec = { kind: 'matrix', shape, from: packed.name, byInputs } as const;
  let at = 0;
  await streamPacked(spec, packed, dtype, (_, bytes) => {
    into.bytes.set(bytes, at);
    at += bytes.length;
  });
  expect(at).toBe(into.bytes.length);
  return into.bytes;
}

function read(tensor: Parameters<typeof rowReader>[0]): Float32Array {
  const [rows = 0, columns = 0] = tensor.shape;
  const values = new Float32Array(rows * columns);
  const decode = rowReader(tensor);
  for (let row = 0; row < rows; row++)
    decode(row, values.subarray(row * columns, (row + 1) * columns));
  // +0 and -0 are one number, which others make of either.
  return values.map((x) => x + 0);
}
