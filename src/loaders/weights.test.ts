import { expect, it } from 'vitest';
import { reference } from '../backends/reference/index.ts';
import { StoredWeights } from './weights.ts';

it('names what was never declared: a misspelt norm or bias is no other model', async () => {
  await using backend = await reference.open({});
  const declared = ['finalNorm', 'finalNorm.bias', 'up'];
  const weights = new StoredWeights(backend, 'f32', declared, { slopes: Float32Array.of(1) });
  weights.add('finalNorm', { kind: 'vector', shape: [4], from: 'norm.weight' });
  weights.add('up', { kind: 'matrix', shape: [2, 4], from: 'up.weight', byInputs: true });

  expect(weights.find('finalNorm')?.shape).toEqual([4]);
  expect(weights.find('finalNorm.bias')).toBeUndefined();
  expect(weights.get('slopes').shape).toEqual([1]);
  expect(weights.rowNorms('up', 1).shape).toEqual([2]);

  for (const name of ['finalNrm', 'finalNorm.bais', 'up.bias', 'slope'])
    for (const ask of [() => weights.find(name), () => weights.get(name)])
      expect(ask).toThrow(`the family declares no weight ${name}`);
  expect(() => weights.get('finalNorm.bias')).toThrow('there is no weight finalNorm.bias: it was');
  expect(() => weights.rowNorms('finalNorm', 1)).toThrow('finalNorm lies by outputs');
  weights.release();
});
