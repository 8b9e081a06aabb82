import { describe, expect, it } from 'vitest';
import { chooseIsa } from './isa.ts';

const addon = (compiled: string, processor: string) => ({
  isas: () => compiled.split(' ').filter(Boolean),
  processor: () => processor.split(' '),
});

describe('chooseIsa', () => {
  it('takes the best that is compiled, or the one asked for', () => {
    const all = addon('avx512 avx2 scalar', 'avx512 avx2 scalar');
    expect(chooseIsa(all)).toEqual({ isa: 'avx512' });
    expect(chooseIsa(all, 'scalar')).toEqual({ isa: 'scalar' });
    expect(chooseIsa(addon('avx512 scalar', 'amx avx512 avx2 scalar'))).toEqual({ isa: 'avx512' });
  });

  it('says so where an addon of another machine leaves the plain kernels alone', () => {
    const { isa, note } = chooseIsa(addon('scalar', 'avx2 scalar'));
    expect(isa).toBe('scalar');
    expect(note).toMatch(/has avx2.*not compiled for.*DEJAVU_ISAS=avx2,scalar/);
    expect(chooseIsa(addon('scalar', 'scalar'))).toEqual({ isa: 'scalar' });
  });

  it('refuses what the processor lacks, and what is not compiled', () => {
    const some = addon('avx512 scalar', 'avx512 avx2 scalar');
    expect(() => chooseIsa(some, 'sse9')).toThrow(
      'this processor has no sse9; it has avx512, avx2, scalar',
    );
    expect(() => chooseIsa(some, 'avx2')).toThrow(
      'not compiled for avx2, only for avx512, scalar; run: node scripts/install.mjs',
    );
    expect(() => chooseIsa(addon('', 'avx2 scalar'))).toThrow('not compiled for avx2 or scalar;');
  });
});
