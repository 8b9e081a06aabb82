/** Writes GGUF files for tests, well-formed or not: nothing is checked. */
export interface GgufFile {
  readonly version?: number;
  /** A number is an i32, unless it is given with its type. */
  readonly metadata?: readonly (readonly [key: string, value: GgufValue])[];
  readonly tensors?: readonly GgufTensorData[];
  readonly alignment?: number;
}

export type GgufValue =
  | number
  | boolean
  | string
  | readonly string[]
  | { readonly type: number; readonly value: number }
  | { readonly of: number; readonly values: readonly number[] };

export interface GgufTensorData {
  readonly name: string;
  /** Row-major: the last axis is the row. */
  readonly shape: readonly number[];
  /** Number of the type: 0 is F32. */
  readonly type: number;
  readonly bytes: Uint8Array;
  /** Default: where the one before it ends, aligned. */
  readonly offset?: number;
}

export function encodeGguf({
  version = 3,
  metadata = [],
  tensors = [],
  alignment = 32,
}: GgufFile): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const number = (type: number, value: number): void => {
    const view = new DataView(new ArrayBuffer(8));
    const [bytes, write] = writers[type];
    write(view, value);
    parts.push(new Uint8Array(view.buffer, 0, bytes));
  };
  const text = (value: string): void => {
    const encoded = new TextEncoder().encode(value);
    number(10, encoded.length);
    parts.push(encoded);
  };
  parts.push(new TextEncoder().encode('GGUF'));
  number(4, version);
  number(10, tensors.length);
  number(10, metadata.length);
  for (const [key, value] of metadata) {
    text(key);
    if (typeof value === 'string') {
      number(4, 8);
      text(value);
    } else if (typeof value === 'boolean') {
      number(4, 7);
      number(7, Number(value));
    } else if (typeof value === 'number') {
      number(4, 5);
      number(5, value);
    } else if ('type' in value) {
      number(4, value.type);
      number(value.type, value.value);
    } else if ('of' in value) {
      number(4, 9);
      number(4, value.of);
      number(10, value.values.length);
      for (const one of value.values) number(value.of, one);
    } else {
      number(4, 9);
      number(4, 8);
      number(10, value.length);
      value.forEach(text);
    }
  }
  const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;
  let end = 0;
  const placed = tensors.map((tensor) => {
    const offset = tensor.offset ?? end;
    end = padded(offset + tensor.bytes.length);
    return { ...tensor, offset };
  });
  for (const { name, shape, type, offset } of placed) {
    text(name);
    number(4, shape.length);
    for (const axis of [...shape].reverse()) number(10, axis);
    number(4, type);
    number(10, offset);
  }
  const start = padded(parts.reduce((sum, { length }) => sum + length, 0));
  const file = new Uint8Array(start + end);
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  for (const { offset, bytes } of placed) file.set(bytes, start + offset);
  return file;
}

type Write = (view: DataView, value: number) => void;
const writers: Readonly<Record<number, readonly [bytes: number, write: Write]>> = {
  0: [1, (view, value) => view.setUint8(0, value)],
  1: [1, (view, value) => view.setInt8(0, value)],
  2: [2, (view, value) => view.setUint16(0, value, true)],
  3: [2, (view, value) => view.setInt16(0, value, true)],
  4: [4, (view, value) => view.setUint32(0, value, true)],
  5: [4, (view, value) => view.setInt32(0, value, true)],
  6: [4, (view, value) => view.setFloat32(0, value, true)],
  7: [1, (view, value) => view.setUint8(0, value)],
  10: [8, (view, value) => view.setBigUint64(0, BigInt(value), true)],
  11: [8, (view, value) => view.setBigInt64(0, BigInt(value), true)],
  12: [8, (view, value) => view.setFloat64(0, value, true)],
};
