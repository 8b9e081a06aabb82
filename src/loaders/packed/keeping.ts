import { matrixOf, type WeightSpec } from '../../model.ts';
import { formatOf, isQuantized } from '../../tensor.ts';
import type { WeightType } from '../convert.ts';
import type { Entry } from '../entry.ts';
import type { Packing } from './index.ts';
import { keptAs, type PackedMatrix, takesCodes } from './matrix.ts';

/** How matrices of a packed checkpoint are kept in memory, those that are kept alike. */
export interface Keeping {
  /** Type of their rows in memory. */
  readonly dtype: WeightType;
  /** `codes`: those of the file; `values`: decoded; `rounded`: decoded and rounded anew. */
  readonly how: 'codes' | 'values' | 'rounded';
  /** Why it is rounded anew, or what of it is rounded although codes are kept. */
  readonly because?: string;
  /** Matrices of blocks by kind, others by name. */
  readonly matrices: readonly string[];
}

/** Weights of a checkpoint that are packed, in the types that `typeOf` says, or those they have by themselves. */
export function keepingOf(
  found: ReadonlyMap<string, { readonly spec: WeightSpec; readonly entry: Entry }>,
  typeOf?: (name: string) => WeightType,
  isLaid: (name: string) => boolean = () => false,
): Keeping[] {
  const alike = new Map<string, { kept: Omit<Keeping, 'matrices'>; names: Set<string> }>();
  for (const [
    name,
    {
      spec,
      entry: { packed },
    },
  ] of found) {
    if (!packed) continue;
    const kept = keep(spec, packed, typeOf?.(name) ?? keptAs(spec, packed).dtype, isLaid(name));
    const key = JSON.stringify(kept);
    const { names } = alike.get(key) ?? { names: new Set<string>() };
    alike.set(key, { kept, names: names.add(matrixOf(name) ?? name) });
  }
  return Array.from(alike.values(), ({ kept, names }) => ({ ...kept, matrices: [...names] }));
}

function keep(
  spec: WeightSpec,
  packed: PackedMatrix,
  dtype: WeightType,
  laid: boolean,
): Omit<Keeping, 'matrices'> {
  if (!isQuantized(dtype)) return { dtype, how: 'values' };
  if (laid) return { dtype, how: 'rounded', because: 'laid out one row an input for the method' };
  if (!takesCodes(spec, packed, dtype))
    return {
      dtype,
      how: 'rounded',
      because: keptAs(spec, packed).rounded ?? `${dtype} does not hold its codes`,
    };
  const { minima } = formatOf(dtype);
  const wide = packed.scales.entry.type === 'F32';
  if (!minima && !wide) return { dtype, how: 'codes' };
  const halves = [...(wide ? ['scales'] : []), ...(minima ? ['minima'] : [])].join(' and ');
  return { dtype, how: 'codes', because: `${halves} are rounded to f16` };
}

/** One sentence for people. */
export function describeKeeping({ form, scheme }: Packing, keeping: readonly Keeping[]): string {
  const parts = keeping.map(({ dtype, how, because, matrices }) => {
    const does = {
      codes: 'taken code by code as',
      values: 'decoded to',
      rounded: 'rounded anew to',
    }[how];
    return `${matrices.join(', ')} ${does} ${dtype}${because === undefined ? '' : ` (${because})`}`;
  });
  return `${form}, ${scheme.says}: ${parts.join('; ')}`;
}
