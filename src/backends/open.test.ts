import { expect, it } from 'vitest';
import type { Backend, BackendFactory } from '../backend.ts';
import { EngineError } from '../errors.ts';
import { openOneOf } from './open.ts';
import { reference } from './reference/index.ts';

const failing = (code: 'BACKEND_UNAVAILABLE' | 'BACKEND_OUTDATED'): BackendFactory => ({
  ...reference,
  name: 'failing',
  open: () => Promise.reject(new EngineError(code, `failing: ${code}`)),
});

/** The reference, that says it could be faster. */
const slow: BackendFactory = {
  ...reference,
  name: 'slow',
  async open(options) {
    const backend: Backend = await reference.open(options);
    return { ...backend, info: { ...backend.info, note: 'slow: compile it here' } };
  },
};

it('notes why backends were passed over, and why the one that opened could be faster', async () => {
  const candidates = [failing('BACKEND_UNAVAILABLE'), slow];
  const { notes } = await openOneOf(candidates, 'auto', {});
  expect(notes).toEqual(['failing: BACKEND_UNAVAILABLE', 'slow: compile it here']);
  expect((await openOneOf(candidates, 'slow', {})).notes).toEqual(['slow: compile it here']);
});

it('auto does not pass over a backend whose compiled part is another program’s', async () => {
  const candidates = [failing('BACKEND_OUTDATED'), reference];
  await expect(openOneOf(candidates, 'auto', {})).rejects.toMatchObject({
    code: 'BACKEND_OUTDATED',
  });
});
