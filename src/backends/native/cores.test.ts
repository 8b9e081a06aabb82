import os from 'node:os';
import { describe, expect, it } from 'vitest';
import { parseList, physicalCores } from './cores.ts';

describe('cores', () => {
  it('reads lists of processors', () => {
    expect(parseList('0-2,5,8-8')).toEqual([0, 1, 2, 5, 8]);
    expect(parseList('')).toEqual([]);
  });

  it('finds at least one core, and no more than there are processors', () => {
    expect(physicalCores()).toBeGreaterThanOrEqual(1);
    expect(physicalCores()).toBeLessThanOrEqual(os.availableParallelism());
  });
});
