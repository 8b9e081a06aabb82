/** Checkpoints packed as GPTQ, AWQ and compressed-tensors publish them, element by element, and what they hold. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { f16ToF32, f32ToF16 } from '../../src/float16.ts';
import { readSafetensors } from '../../src/loaders/files.ts';
import { encodeHeader, type StoredType } from '../../src/loaders/safetensors.ts';
import { f32, hostTensor, rowReader } from '../../src/rows.ts';

/** A tensor of a file. */
export interface Stored {
  readonly type: StoredType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}
export type Tensors = Map<string, Stored>;

/** How to round a checkpoint, and how to pack it. */
export interface Packed {
  readonly form: 'gptq' | 'gptq_v2' | 'awq' | 'pack-quantized' | 'int-quantized';
  readonly bits: 4 | 8;
  /** -1: one a row. */
  readonly group: number;
  readonly symmetric: boolean;
  /** Inputs in an order of their own before they are grouped. */
  readonly ordered?: boolean;
  readonly scales?: 'F16' | 'BF16' | 'F32';
  /** Matrices to pack, by the name of their weight. Default: those of blocks. */
  readonly pick?: RegExp;
  /** Whose weights lie one row an input (Conv1D). */
  readonly turned?: boolean;
}

/** A matrix [outputs, inputs], rounded: codes without a sign. */
interface Rounded {
  readonly outputs: number;
  readonly inputs: number;
  readonly groups: number;
  readonly groupOf: Int32Array;
  /** [outputs, inputs] */
  readonly codes: Uint8Array;
  /** [outputs, groups] */
  readonly zeros: Uint8Array;
  /** [outputs, groups], as they are stored. */
  readonly scales: Float32Array;
}

const bf16 = (x: number): number => {
  const word = new Uint32Array(Float32Array.of(x).buffer);
  word[0] = (word[0] + 0x7fff + ((word[0] >> 16) & 1)) & 0xffff0000;
  return new Float32Array(word.buffer)[0];
};
const asStored = {
  F16: (x: number): number => f16ToF32[f32ToF16(x)],
  BF16: bf16,
  F32: (x: number): number => Math.fround(x),
} as const;

function round(values: Float32Array, outputs: number, inputs: number, packed: Packed): Rounded {
  const { bits, group: size, symmetric, ordered, scales: type = 'F16' } = packed;
  const group = size === -1 ? inputs : size;
  const groups = Math.ceil(inputs / group);
  // A prime that does not divide the inputs visits each of them once.
  const step = [5, 7, 11].find((n) => inputs % n !== 0)!;
  const groupOf = Int32Array.from({ length: inputs }, (_, i) =>
    Math.floor((ordered ? (i * step) % inputs : i) / group),
  );
  const top = (1 << bits) - 1;
  const middle = 1 << (bits - 1);
  const codes = new Uint8Array(outputs * inputs);
  const zeros = new Uint8Array(outputs * groups).fill(middle);
  const scales = new Float32Array(outputs * groups);
  for (let o = 0; o < outputs; o++)
    for (let g = 0; g < groups; g++) {
      const own = [...groupOf.keys()].filter((i) => groupOf[i] === g);
      const at = (i: number): number => values[o * inputs + i];
      const least = Math.min(0, ...own.map(at));
      const most = Math.max(0, ...own.map(at));
      const span = symmetric ? 2 * Math.max(-least, most) : most - least;
      const scale = asStored[type](span / top || 1);
      scales[o * groups + g] = scale;
      if (!symmetric)
        zeros[o * groups + g] = Math.max(1, Math.min(top, Math.round(-least / scale)));
      for (const i of own) {
        const code = Math.round(at(i) / scale) + zeros[o * groups + g];
        codes[o * inputs + i] = Math.max(0, Math.min(top, code));
      }
    }
  return { outputs, inputs, groups, groupOf, codes, zeros, scales };
}

/** [outputs, inputs] */
function values({ outputs, inputs, groups, groupOf, codes, zeros, scales }: Rounded): Float32Array {
  return Float32Array.from({ length: outputs * inputs }, (_, at) => {
    const grid = Math.floor(at / inputs) * groups + groupOf[at % inputs];
    return (codes[at] - zeros[grid]) * scales[grid];
  });
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
const i32 = (shape: readonly number[], words: Int32Array): Stored => ({
  type: 'I32',
  shape,
  bytes: bytesOf(words),
});

function scaleTensor(
  type: 'F16' | 'BF16' | 'F32',
  shape: readonly number[],
  scales: Float32Array,
): Stored {
  if (type === 'F32') return { type, shape, bytes: bytesOf(scales) };
  const words = new Uint32Array(scales.buffer, scales.byteOffset, scales.length);
  const halves = Uint16Array.from(scales, (x, i) =>
    type === 'F16' ? f32ToF16(x) : words[i] >>> 16,
  );
  return { type, shape, bytes: bytesOf(halves) };
}

/** [height, width] codes in words of 32 bits along rows or columns; `order` says where in its word each lies. */
function pack(
  {
    height,
    width,
    bits,
    along,
    order,
  }: {
    height: number;
    width: number;
    bits: number;
    along: 'rows' | 'columns';
    order?: readonly number[];
  },
  code: (row: number, column: number) => number,
): Stored {
  const per = 32 / bits;
  const shape =
    along === 'columns' ? [height, Math.ceil(width / per)] : [Math.ceil(height / per), width];
  const words = new Int32Array(shape[0] * shape[1]);
  for (let r = 0; r < height; r++)
    for (let c = 0; c < width; c++) {
      const place = along === 'columns' ? c : r;
      const word =
        along === 'columns' ? r * shape[1] + Math.floor(c / per) : Math.floor(r / per) * width + c;
      words[word] |= code(r, c) << (bits * (order?.indexOf(place % per) ?? place % per));
    }
  return i32(shape, words);
}

const transpose = (from: Float32Array, rows: number, columns: number): Float32Array =>
  Float32Array.from(
    { length: from.length },
    (_, i) => from[(i % rows) * columns + Math.floor(i / rows)],
  );

/** The tensors of one module. */
function members(
  rounded: Rounded,
  { form, bits, ordered, symmetric, group, scales: type = 'F16' }: Packed,
): Record<string, Stored> {
  const { outputs, inputs, groups, groupOf, codes, zeros, scales } = rounded;
  const code = (o: number, i: number): number => codes[o * inputs + i];
  const zero = (o: number, g: number): number => zeros[o * groups + g];
  if (form === 'gptq' || form === 'gptq_v2') {
    const less = form === 'gptq' ? 1 : 0;
    return {
      '.qweight': pack({ height: inputs, width: outputs, bits, along: 'rows' }, (i, o) =>
        code(o, i),
      ),
      '.qzeros': pack(
        { height: groups, width: outputs, bits, along: 'columns' },
        (g, o) => zero(o, g) - less,
      ),
      '.scales': scaleTensor(type, [groups, outputs], transpose(scales, outputs, groups)),
      '.g_idx': i32([inputs], groupOf),
    };
  }
  if (form === 'awq') {
    const order = [0, 2, 4, 6, 1, 3, 5, 7];
    return {
      '.qweight': pack({ height: inputs, width: outputs, bits, along: 'columns', order }, (i, o) =>
        code(o, i),
      ),
      '.qzeros': pack({ height: groups, width: outputs, bits, along: 'columns', order }, (g, o) =>
        zero(o, g),
      ),
      '.scales': scaleTensor(type, [groups, outputs], transpose(scales, outputs, groups)),
    };
  }
  const scale = scaleTensor(type, [outputs, groups], scales);
  if (form === 'int-quantized')
    return {
      '.weight': { type: 'I8', shape: [outputs, inputs], bytes: codes.map((c) => c ^ 128) },
      '.weight_scale': scale,
      ...(!symmetric && {
        '.weight_zero_point': {
          type: 'I8',
          shape: [outputs, groups],
          bytes: zeros.map((z) => z ^ 128),
        },
      }),
    };
  return {
    '.weight_packed': pack({ height: outputs, width: inputs, bits, along: 'columns' }, code),
    '.weight_shape': {
      type: 'I64',
      shape: [2],
      bytes: bytesOf(BigInt64Array.of(BigInt(outputs), BigInt(inputs))),
    },
    '.weight_scale': scale,
    ...(!symmetric && {
      '.weight_zero_point': pack({ height: outputs, width: groups, bits, along: 'rows' }, zero),
    }),
    ...(ordered && group !== -1 && { '.weight_g_idx': i32([inputs], groupOf) }),
  };
}

/** What config.json says. */
export function quantizationConfig({
  form,
  bits,
  group,
  symmetric,
  ordered = false,
}: Packed): object {
  if (form === 'awq')
    return {
      quant_method: 'awq',
      bits,
      group_size: group,
      zero_point: true,
      version: 'gemm',
      modules_to_not_convert: null,
    };
  if (form === 'gptq' || form === 'gptq_v2')
    return {
      quant_method: 'gptq',
      bits,
      group_size: group,
      desc_act: ordered,
      sym: symmetric,
      checkpoint_format: form,
      damp_percent: 0.01,
      true_sequential: true,
    };
  return {
    quant_method: 'compressed-tensors',
    format: form,
    quantization_status: 'compressed',
    ignore: ['lm_head'],
    kv_cache_scheme: null,
    config_groups: {
      group_0: {
        targets: ['Linear'],
        input_activations: null,
        output_activations: null,
        weights: {
          ...{ num_bits: bits, type: 'int', symmetric, dynamic: false, observer: 'minmax' },
          ...(group === -1
            ? { strategy: 'channel', group_size: null }
            : { strategy: 'group', group_size: group }),
          actorder: ordered ? 'group' : null,
        },
      },
    },
  };
}

const blocks = /\.\d+\..*(proj|attn|fc|dense\w*|query_key_value)\.weight$/;

/**
 * A checkpoint rounded and packed in the folder `into/packed`, and in `into/plain` its values in f32, both with all
 * else as it was. Returns both paths.
 */
export async function packCheckpoint(
  from: string,
  into: string,
  packed: Packed,
): Promise<{ packed: string; plain: string }> {
  const { tensors } = await readSafetensors(`${from}/model.safetensors`);
  const stored: Tensors = new Map();
  const plain: Tensors = new Map();
  for (const [name, tensor] of tensors) {
    const wide = hostTensor('f32', tensor.shape);
    const read = rowReader(tensor);
    const width = tensor.shape.at(-1)!;
    for (let row = 0; row * width < f32(wide).length; row++)
      read(row, f32(wide).subarray(row * width, (row + 1) * width));
    const same: Stored = { type: 'F32', shape: tensor.shape, bytes: wide.bytes };
    if (!(packed.pick ?? blocks).test(name)) {
      stored.set(name, same);
      plain.set(name, same);
      continue;
    }
    const [a = 0, b = 0] = tensor.shape;
    const [outputs, inputs] = packed.turned ? [b, a] : [a, b];
    const rounded = round(
      packed.turned ? transpose(f32(wide), a, b) : f32(wide),
      outputs,
      inputs,
      packed,
    );
    const module = name.replace(/\.weight$/, '');
    for (const [ending, member] of Object.entries(members(rounded, packed)))
      stored.set(module + ending, member);
    const back = values(rounded);
    plain.set(name, {
      ...same,
      bytes: bytesOf(packed.turned ? transpose(back, outputs, inputs) : back),
    });
  }
  const { dtype: _, ...json } = JSON.parse(readFileSync(`${from}/config.json`, 'utf8')) as Record<
    string,
    unknown
  >;
  const paths = { packed: join(into, 'packed'), plain: join(into, 'plain') };
  write(paths.packed, { ...json, quantization_config: quantizationConfig(packed) }, stored);
  write(paths.plain, json, plain);
  return paths;
}

/** A folder of config.json and one file of tensors. */
export function write(path: string, json: object, tensors: Tensors): void {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'config.json'), JSON.stringify(json));
  writeTensors(join(path, 'model.safetensors'), tensors);
}

export function writeTensors(path: string, tensors: Tensors): void {
  const listed = [...tensors].map(([name, { type, shape, bytes }]) => ({
    name,
    type,
    shape,
    bytes: bytes.length,
  }));
  writeFileSync(
    path,
    Buffer.concat([
      encodeHeader(listed, {}),
      ...Array.from(tensors.values(), ({ bytes }) => bytes),
    ]),
  );
}
