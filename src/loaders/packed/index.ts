import { EngineError } from '../../errors.ts';
import type { Entry, TensorFiles } from '../entry.ts';
import { awq } from './awq.ts';
import { compressedTensors } from './compressed-tensors.ts';
import { Members, type PackedForm, refused, type Scheme } from './form.ts';
import { gptq } from './gptq.ts';
import type { PackedEntry } from './matrix.ts';

/** Every published form of quantized checkpoints that is read. */
export const forms: readonly PackedForm[] = [gptq, awq, compressedTensors];

/** What config.json says of a checkpoint that is packed. */
export interface Packing {
  readonly form: string;
  readonly scheme: Scheme;
}

/**
 * How a checkpoint is packed, by its config.json; undefined where it is not. Throws `BAD_CONFIG` for
 * what is not read.
 */
export function packingOf(json: unknown): Packing | undefined {
  const config = (json as { readonly quantization_config?: unknown } | null)?.quantization_config;
  if (typeof config !== 'object' || config === null) return undefined;
  const method = (config as { readonly quant_method?: unknown }).quant_method;
  const form = forms.find(({ name }) => name === method);
  if (form) return { form: form.name, scheme: form.scheme(config) };
  throw refused(
    `quant_method is ${JSON.stringify(method)}, which is not read`,
    forms.map(({ name }) => name).join(', '),
  );
}

/** A config.json without what says how it is packed: what families read. */
export function unpackedConfig(json: unknown): unknown {
  const { quantization_config: _, ...rest } = json as Record<string, unknown>;
  return rest;
}

/**
 * The tensors of a packed checkpoint, each packed matrix as one that stands for the `.weight` of its module. Small
 * tensors that say how others lie are read. Throws `BAD_CHECKPOINT`, `MISSING_TENSOR`, `BAD_SHAPE`.
 */
export async function unpackedFiles(
  where: string,
  files: TensorFiles,
  { form, scheme }: Packing,
): Promise<TensorFiles> {
  const { mark, endings } = scheme;
  const modules = [...files.entries.keys()]
    .filter((name) => name.endsWith(mark))
    .map((name) => name.slice(0, -mark.length));
  if (modules.length === 0)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${where}: its config.json says that it is quantized (${form}), but none of its tensors is called …${mark}; expected config.json and weights of one model; fetch it again`,
    );
  const entries = new Map(files.entries);
  for (const module of modules) {
    const taken = endings.map((ending) => module + ending).filter((name) => entries.delete(name));
    const packed = await scheme.matrix(new Members(module, files.entries));
    const name = `${module}.weight`;
    if (files.entries.has(name) && !taken.includes(name))
      throw new EngineError(
        'BAD_CHECKPOINT',
        `${where}: has ${name} and ${module}${mark} too; expected one of them; fetch the model again`,
      );
    entries.set(
      name,
      entryOf(name, `${form} of ${packed.bits} bits`, packed, taken, files.entries),
    );
  }
  return {
    entries,
    metadata: files.metadata,
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

function entryOf(
  name: string,
  type: string,
  packed: PackedEntry['packed'],
  taken: readonly string[],
  entries: ReadonlyMap<string, Entry>,
): PackedEntry {
  const { source, offset } = packed.codes.entry;
  const bytes = taken.reduce((sum, member) => sum + entries.get(member)!.bytes, 0);
  return { name, type, shape: [packed.outputs, packed.inputs], offset, bytes, source, packed };
}
