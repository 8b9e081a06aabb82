import * as z from 'zod/mini';
import { EngineError } from '../../errors.ts';
import { checked } from '../../schema.ts';
import type { Entry } from '../entry.ts';
import type { Axis, PackedMatrix } from './matrix.ts';

/** A published form of quantized checkpoints: what config.json says, and which tensors make up a matrix. */
export interface PackedForm {
  /** `quant_method` of config.json. */
  readonly name: string;
  /** For people, in a table of forms: what is read of it. */
  readonly summary: string;
  /** Check a parsed `quantization_config`. Throws `BAD_CONFIG` for whatever would be computed another way. */
  scheme(config: unknown): Scheme;
}

/** How one checkpoint is packed. */
export interface Scheme {
  /** For people: bits, groups. */
  readonly says: string;
  /** Of each packed module one tensor ends so. */
  readonly mark: string;
  /** All endings its tensors may have. */
  readonly endings: readonly string[];
  /** Check the tensors of a module against each other. Throws `MISSING_TENSOR`, `BAD_SHAPE`, `BAD_CHECKPOINT`. */
  matrix(members: Members): Promise<PackedMatrix>;
}

/** The tensors of one module. */
export class Members {
  /** The module, for messages. */
  readonly name: string;
  readonly #entries: ReadonlyMap<string, Entry>;

  constructor(name: string, entries: ReadonlyMap<string, Entry>) {
    this.name = name;
    this.#entries = entries;
  }

  find(ending: string): Entry | undefined {
    return this.#entries.get(this.name + ending);
  }

  /** A tensor of one of these types with as many axes. Throws `MISSING_TENSOR`, `BAD_SHAPE`. */
  get(ending: string, types: readonly string[], axes: number): Entry {
    const entry = this.find(ending);
    if (!entry)
      throw new EngineError(
        'MISSING_TENSOR',
        `${this.name}: has no ${ending.slice(1)} beside its other tensors; expected all that its quantization asks for; fetch the model again`,
      );
    if (!types.includes(entry.type) || entry.shape.length !== axes || entry.shape.includes(0))
      throw misshapen(entry, `${types.join(' or ')} with ${axes} axes`);
    return entry;
  }

  /** The same with this very shape. */
  shaped(ending: string, types: readonly string[], shape: readonly number[]): Entry {
    const entry = this.get(ending, types, shape.length);
    if (entry.shape.join() !== shape.join())
      throw misshapen(entry, `${types.join(' or ')} [${shape}]`);
    return entry;
  }
}

/** Types that scales have. */
export const scaleTypes = ['F16', 'BF16', 'F32'] as const;

/** A tensor that is not as the others of its module ask. */
export const misshapen = ({ source, name, type, shape }: Entry, expected: string): EngineError =>
  new EngineError(
    'BAD_SHAPE',
    `${source.name}, ${name}: is ${type} [${shape}]; expected ${expected}, as its quantization and other tensors say; fetch the model again`,
  );

/** Codes of `bits` one after another in words of 32 bits, the first in the lowest bits. */
export const inWords = (count: number, bits: 4 | 8, stride: number): Axis => ({
  ...{ count, stride },
  order: Array.from({ length: 32 / bits }, (_, i) => i),
});

/** One number a word. */
export const apart = (count: number, stride: number): Axis => ({ count, stride });

/** Words of 32 bits that `count` codes take. */
export const wordsOf = (count: number, bits: 4 | 8): number => Math.ceil((count * bits) / 32);

/** Inputs that share a scale, by what config.json says of it: -1 is all of them. */
export const groupOf = (says: number, inputs: number): number => (says === -1 ? inputs : says);

/** `group_size`: a whole number, or -1. */
export const groupSize = z
  .int()
  .check(z.refine((n) => n === -1 || n > 0, 'is neither -1 nor above 0'));

/** For people. */
export const groupsSay = (size: number): string =>
  size === -1 ? 'one group a row' : `groups of ${size}`;

/**
 * The group of each input as a tensor has it, [inputs] I32; undefined where groups are of consecutive inputs.
 * Throws `BAD_CHECKPOINT` where one is out of range.
 */
export async function readOrder(
  { source, offset, bytes, name }: Entry,
  group: number,
): Promise<Int32Array | undefined> {
  const order = new Int32Array((await source.read(offset, bytes)).buffer);
  const groups = Math.ceil(order.length / group);
  const wrong = order.findIndex((g) => g < 0 || g >= groups);
  if (wrong >= 0)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${source.name}, ${name}: input ${wrong} is of group ${order[wrong]}; expected 0 to ${groups - 1}; fetch the model again`,
    );
  return order.every((g, i) => g === Math.floor(i / group)) ? undefined : order;
}

/** Parse a `quantization_config`. Throws `BAD_CONFIG`, naming every field that is wrong. */
export function parseScheme<S extends z.ZodMiniType>(schema: S, config: unknown): z.output<S> {
  const result = checked(schema, config);
  if (result.success) return result.data;
  const faults = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw refused(faults.join('; '), 'a form whose result this engine computes');
}

/** What a checkpoint's quantization asks for that is not read. */
export const refused = (found: string, expected: string): EngineError =>
  new EngineError(
    'BAD_CONFIG',
    `config.json, quantization_config: ${found}; expected ${expected}; take the original weights (\`quantize\` rounds them) or a GGUF file`,
  );
