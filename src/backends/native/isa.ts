import { EngineError } from '../../errors.ts';
import type { Addon } from './addon.ts';

export interface ChosenIsa {
  readonly isa: string;
  /** Why a faster one is not used. */
  readonly note?: string;
}

/**
 * The instruction set to compute with: the one asked for, else the best. An addon has that of the machine
 * that compiled it and the plain one, so elsewhere the plain one may be all that runs: `note` says so then.
 * Throws `BACKEND_UNAVAILABLE` where the processor has it not, or nothing was compiled for it.
 */
export function chooseIsa(addon: Pick<Addon, 'isas' | 'processor'>, wanted?: string): ChosenIsa {
  const [compiled, processor] = [addon.isas(), addon.processor()];
  const isa = wanted ?? compiled[0];
  if (isa !== undefined && !processor.includes(isa))
    throw unavailable(`this processor has no ${isa}; it has ${processor.join(', ')}`);
  if (isa === undefined || !compiled.includes(isa))
    throw unavailable(
      `its kernels are not compiled for ${wanted ?? processor.join(' or ')}${compiled.length ? `, only for ${compiled.join(', ')}` : ''}; ${remedy(isa ?? processor[0])}`,
    );
  if (wanted !== undefined || isa !== 'scalar' || processor[0] === 'scalar') return { isa };
  return {
    isa,
    note: `native backend: this processor has ${processor[0]}, which its kernels are not compiled for; the plain ones are used, which are slower; ${remedy(processor[0])}`,
  };
}

const remedy = (isa: string): string =>
  `run: node scripts/install.mjs here, or with DEJAVU_ISAS=${isa},scalar (or all) where it is compiled`;

const unavailable = (reason: string): EngineError =>
  new EngineError('BACKEND_UNAVAILABLE', `native backend: ${reason}`);
