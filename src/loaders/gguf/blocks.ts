import { f16ToF32 } from '../../float16.ts';
import type { GgmlType } from './types.ts';

/** Decodes one block, at `at` of `from`, to f32 elements at `to` of `into`. */
export type DecodeBlock = (from: Uint8Array, at: number, into: Float32Array, to: number) => void;

export const half = (from: Uint8Array, at: number): number =>
  f16ToF32[from[at] | (from[at + 1] << 8)];
const signed = (byte: number): number => (byte << 24) >> 24;

/** The 16 levels of IQ4_NL and IQ4_XS: closer together where weights are many. */
export const iq4Levels = Int8Array.of(
  ...[-127, -104, -83, -65, -49, -35, -22, -10],
  ...[1, 13, 25, 38, 53, 69, 89, 113],
);

/** 32 codes of 4 bits: element i in the low half of byte i, element i + 16 in the high half. */
export function halves(
  from: Uint8Array,
  at: number,
  each: (i: number, code: number) => void,
): void {
  for (let i = 0; i < 16; i++) {
    each(i, from[at + i] & 15);
    each(i + 16, from[at + i] >> 4);
  }
}

/** The same with a fifth bit: that of element i is bit i of the four bytes at `high`. */
export const fives = (
  from: Uint8Array,
  at: number,
  high: number,
  each: (i: number, code: number) => void,
): void =>
  halves(from, at, (i, code) => each(i, code | (((from[high + (i >> 3)] >> (i & 7)) & 1) << 4)));

const q4_0: DecodeBlock = (from, at, into, to) => {
  const step = half(from, at);
  halves(from, at + 2, (i, code) => (into[to + i] = (code - 8) * step));
};

const q4_1: DecodeBlock = (from, at, into, to) => {
  const [step, least] = [half(from, at), half(from, at + 2)];
  halves(from, at + 4, (i, code) => (into[to + i] = code * step + least));
};

const q5_0: DecodeBlock = (from, at, into, to) => {
  const step = half(from, at);
  fives(from, at + 6, at + 2, (i, code) => (into[to + i] = (code - 16) * step));
};

const q5_1: DecodeBlock = (from, at, into, to) => {
  const [step, least] = [half(from, at), half(from, at + 2)];
  fives(from, at + 8, at + 4, (i, code) => (into[to + i] = code * step + least));
};

const q8_0: DecodeBlock = (from, at, into, to) => {
  const step = half(from, at);
  for (let i = 0; i < 32; i++) into[to + i] = signed(from[at + 2 + i]) * step;
};

const iq4_nl: DecodeBlock = (from, at, into, to) => {
  const step = half(from, at);
  halves(from, at + 2, (i, code) => (into[to + i] = iq4Levels[code] * step));
};

/** Scale (6 bits) of each 32 elements of an IQ4_XS block. */
export function iq4xsScale(from: Uint8Array, at: number, group: number): number {
  const low = (from[at + 4 + (group >> 1)] >> (4 * (group & 1))) & 15;
  const high = (from[at + 2 + (group >> 2)] >> (2 * (group & 3))) & 3;
  return (low | (high << 4)) - 32;
}

const iq4_xs: DecodeBlock = (from, at, into, to) => {
  const step = half(from, at);
  for (let group = 0; group < 8; group++) {
    const scale = step * iq4xsScale(from, at, group);
    const first = to + 32 * group;
    halves(from, at + 8 + 16 * group, (i, code) => (into[first + i] = iq4Levels[code] * scale));
  }
};

/** Of 256 elements 16 each share a scale and a minimum of 4 bits. */
const q2_k: DecodeBlock = (from, at, into, to) => {
  const [step, least] = [half(from, at + 80), half(from, at + 82)];
  for (let group = 0; group < 16; group++) {
    const packed = from[at + group];
    const [scale, minimum] = [step * (packed & 15), least * (packed >> 4)];
    // Four times 32 elements lie in the same 32 bytes, two bits each.
    const codes = at + 16 + 32 * (group >> 3) + 16 * (group & 1);
    const shift = 2 * ((group >> 1) & 3);
    for (let i = 0; i < 16; i++)
      into[to + 16 * group + i] = scale * ((from[codes + i] >> shift) & 3) - minimum;
  }
};

/** Of 256 elements 16 each share a scale of 6 bits; codes have two bits in one place, one in another. */
const q3_k: DecodeBlock = (from, at, into, to) => {
  const step = half(from, at + 108);
  for (let group = 0; group < 16; group++) {
    const low = (from[at + 96 + (group & 7)] >> (group < 8 ? 0 : 4)) & 15;
    const high = (from[at + 104 + (group & 3)] >> (2 * (group >> 2))) & 3;
    const scale = step * ((low | (high << 4)) - 32);
    const codes = at + 32 + 32 * (group >> 3) + 16 * (group & 1);
    const third = at + 16 * (group & 1);
    const [shift, bit] = [2 * ((group >> 1) & 3), group >> 1];
    for (let i = 0; i < 16; i++) {
      const code = ((from[codes + i] >> shift) & 3) | (((from[third + i] >> bit) & 1) << 2);
      into[to + 16 * group + i] = scale * (code - 4);
    }
  }
};

/** Scale and minimum, 6 bits each, of each 32 elements of a Q4_K or Q5_K block, packed in 12 bytes. */
export function scaleAndMinimum(from: Uint8Array, at: number, group: number): [number, number] {
  if (group < 4) return [from[at + group] & 63, from[at + group + 4] & 63];
  const [both, low, high] = [from[at + group + 4], from[at + group - 4], from[at + group]];
  return [(both & 15) | ((low >> 6) << 4), (both >> 4) | ((high >> 6) << 4)];
}

const q4_k: DecodeBlock = (from, at, into, to) => {
  const [step, least] = [half(from, at), half(from, at + 2)];
  for (let group = 0; group < 8; group++) {
    const [scale, minimum] = scaleAndMinimum(from, at + 4, group);
    const [a, b] = [step * scale, least * minimum];
    const codes = at + 16 + 32 * (group >> 1);
    const shift = 4 * (group & 1);
    for (let i = 0; i < 32; i++)
      into[to + 32 * group + i] = a * ((from[codes + i] >> shift) & 15) - b;
  }
};

const q5_k: DecodeBlock = (from, at, into, to) => {
  const [step, least] = [half(from, at), half(from, at + 2)];
  for (let group = 0; group < 8; group++) {
    const [scale, minimum] = scaleAndMinimum(from, at + 4, group);
    const [a, b] = [step * scale, least * minimum];
    const codes = at + 48 + 32 * (group >> 1);
    const shift = 4 * (group & 1);
    for (let i = 0; i < 32; i++) {
      const fifth = (from[at + 16 + i] >> group) & 1;
      into[to + 32 * group + i] = a * (((from[codes + i] >> shift) & 15) | (fifth << 4)) - b;
    }
  }
};

/** Of 256 elements 16 each share a scale of 8 bits; codes have four bits in one place, two in another. */
const q6_k: DecodeBlock = (from, at, into, to) => {
  const step = half(from, at + 208);
  for (let group = 0; group < 16; group++) {
    const scale = step * signed(from[at + 192 + group]);
    const within = (group & 7) >> 1;
    const low = at + 64 * (group >> 3) + 32 * (within & 1) + 16 * (group & 1);
    const high = at + 128 + 32 * (group >> 3) + 16 * (group & 1);
    const [lowShift, highShift] = [4 * (within >> 1), 2 * within];
    for (let i = 0; i < 16; i++) {
      const code = ((from[low + i] >> lowShift) & 15) | (((from[high + i] >> highShift) & 3) << 4);
      into[to + 16 * group + i] = scale * (code - 32);
    }
  }
};

/** Quantized types that are decoded. */
export const decoders = {
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q8_0: q8_0,
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: q4_k,
  Q5_K: q5_k,
  Q6_K: q6_k,
  IQ4_NL: iq4_nl,
  IQ4_XS: iq4_xs,
} as const satisfies Readonly<Partial<Record<GgmlType, DecodeBlock>>>;

export type BlockType = keyof typeof decoders;
