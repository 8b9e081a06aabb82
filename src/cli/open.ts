import { Engine, type OpenOptions } from '../engine/local.ts';
import { describePolicy } from '../kv/parts/budget.ts';
import { type Io, note } from './io.ts';
import { inFlags } from './library-names.ts';
import { availableMemory } from './memory.ts';

/** Open a model and say on stderr what was chosen. */
export async function openEngine(model: string, options: OpenOptions, io: Io): Promise<Engine> {
  const notes: string[] = [];
  const engine = await Engine.open(model, {
    memoryLimit: availableMemory(),
    ...options,
    onNote: (line) => notes.push(line),
  });
  for (const line of notes) note(io, `note: ${inFlags(line)}`);
  note(io, describe(engine));
  return engine;
}

function describe({ model, backend, checkpoint, sparsity, policy, cacheType }: Engine): string {
  const { threads, isa, device } = backend.info;
  const where = [isa, device, threads === 1 ? '1 thread' : `${threads} threads`];
  return [
    model,
    `${backend.name} backend (${where.filter(Boolean).join(', ')})`,
    `${checkpoint.dtype} weights`,
    `sparsity ${sparsity.name}`,
    `kv ${describePolicy(policy)}${cacheType === 'f32' ? '' : ` as ${cacheType}`}`,
  ].join(' · ');
}

/** The defaults that a model comes with, as flags, and where they stand; undefined where it says nothing. */
export function describeDefaults({ source, options }: Engine['defaults']): string | undefined {
  const flags = Object.entries(options).map(([name, value]) => inFlags(`\`${name} ${value}\``));
  return flags.length ? `${flags.join(' ')} (${source})` : undefined;
}

/** Say which options come from the model, where some do. */
export function noteDefaults({ defaults }: Engine, io: Io): void {
  const said = describeDefaults(defaults);
  if (said) note(io, `note: unless other flags are given: ${said}`);
}
