import type { Backend } from '../../backend.ts';
import { backends } from '../../backends/index.ts';
import { measureBandwidth } from '../../bench/bandwidth.ts';
import { EngineError, type ErrorCode } from '../../errors.ts';
import { command } from '../command.ts';
import { backendFlags } from '../flags.ts';
import { table } from '../layout.ts';
import { inFlags } from '../library-names.ts';

interface Finding {
  readonly name: string;
  readonly works: boolean;
  readonly reason?: string;
  readonly isa?: string;
  readonly device?: string;
  /** Why it is slower here than it could be. */
  readonly note?: string;
}

interface Diagnosis {
  readonly backends: readonly Finding[];
  /** Of the fastest that works. */
  readonly threads: number;
  readonly bandwidthGBs: number;
}

const { threads } = backendFlags;

/** Codes of a backend that does not open here, which is what is looked for. */
const unusable: readonly ErrorCode[] = ['BACKEND_UNAVAILABLE', 'BACKEND_OUTDATED'];

export const doctor = command({
  name: 'doctor',
  summary: 'which backends work here, and how fast memory is read',
  model: 'none',
  flags: { threads },
  async run({ flags }) {
    const findings: Finding[] = [];
    let fastest: Pick<Diagnosis, 'threads' | 'bandwidthGBs'> | undefined;
    for (const factory of backends) {
      let opened: Backend;
      try {
        opened = await factory.open(flags);
      } catch (error) {
        if (!(error instanceof EngineError) || !unusable.includes(error.code)) throw error;
        findings.push({ name: factory.name, works: false, reason: inFlags(error.message) });
        continue;
      }
      await using backend = opened;
      const { isa, device, note } = backend.info;
      findings.push({
        name: factory.name,
        works: true,
        ...(isa && { isa }),
        ...(device && { device }),
        ...(note && { note }),
      });
      fastest ??= {
        threads: backend.info.threads,
        bandwidthGBs: await measureBandwidth(backend),
      };
    }
    const result: Diagnosis = { backends: findings, ...fastest! };
    return { result, text: describe(result) };
  },
});

const describe = ({ backends, threads, bandwidthGBs }: Diagnosis): string =>
  [
    table([
      ['backend', 'works', 'runs on'],
      ...backends.map(({ name, works, isa, device }) => [
        name,
        works ? 'yes' : 'no',
        works ? (isa ?? device ?? 'plain TypeScript') : '',
      ]),
    ]),
    ...backends.flatMap(({ reason, note }) =>
      [reason, note].flatMap((line) => (line ? [`\n${line}\n`] : [])),
    ),
    `\n${backends.find(({ works }) => works)?.name} uses ${threads} threads and reads ${bandwidthGBs.toFixed(1)} GB/s (best of several sums over 1 GiB)\n`,
  ].join('');
