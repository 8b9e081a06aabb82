import { describe, expect, it } from 'vitest';
import { calibrate, type Choice, chooseAt, type Gate, sensitivities } from './calibrate.ts';
import { Histogram } from './histogram.ts';

/** A gate over scores that rise with contribution: scores n/100, contributions n. */
function gate(site: 'neurons' | 'heads', layer: number, cost: number): Gate {
  const histogram = new Histogram();
  const contributions = Float32Array.from({ length: 400 }, (_, n) => (n < 100 ? 0 : n - 99));
  const scores = Float32Array.from({ length: 400 }, (_, n) => n / 40 - 5);
  histogram.add(scores, contributions, (c) => c > 0);
  return { site, layer, cost, cuts: histogram.cuts() };
}

const gates = [gate('neurons', 0, 0.6), gate('neurons', 1, 0.4)];
/** Layer 0 hurts ten times as much. */
const damage = (choice: Choice): number =>
  [...choice].reduce(
    (sum, [{ layer }, { missedSquares }]) => sum + (layer === 0 ? 1 : 0.1) * missedSquares,
    0,
  );
const measure = (choice: Choice): Promise<number> => Promise.resolve(damage(choice));

describe('histograms', () => {
  it('keep everything below the first cut, nothing above the last', () => {
    const { cuts } = gates[0];
    expect(cuts[0]).toMatchObject({ density: 1, recall: 1, kept: 1, missedSquares: 0 });
    expect(cuts.at(-1)).toMatchObject({ density: 0, recall: 0 });
    for (let i = 1; i < cuts.length; i++) {
      expect(cuts[i].threshold).toBeGreaterThan(cuts[i - 1].threshold);
      expect(cuts[i].density).toBeLessThanOrEqual(cuts[i - 1].density);
      expect(cuts[i].missedSquares).toBeGreaterThanOrEqual(cuts[i - 1].missedSquares);
    }
  });

  it('know density, recall and precision at a threshold', () => {
    const at = gates[0].cuts.find(({ threshold }) => threshold === 0)!;
    expect(at).toMatchObject({ density: 0.5, precision: 1 });
    expect(at.recall).toBeCloseTo(200 / 300, 6);
  });

  it('survive being stored', () => {
    const histogram = new Histogram();
    histogram.add(Float32Array.of(-30, 0, 30), Float32Array.of(1, 2, 3), () => true);
    expect(Histogram.from(histogram.toArray()).cuts()).toEqual(histogram.cuts());
  });
});

describe('calibration', () => {
  it('finds what each gate costs', async () => {
    const factors = await sensitivities(gates, measure);
    expect(factors.get(gates[0])).toBeCloseTo(1, 6);
    expect(factors.get(gates[1])).toBeCloseTo(0.1, 6);
  });

  it('stays within the budget, uses it, and takes from the gate that hurts less', async () => {
    const factors = await sensitivities(gates, measure);
    const found = await calibrate(factors, 0.02, measure, 16);
    expect(found!.loss).toBeLessThanOrEqual(0.02);
    expect(found!.loss).toBeGreaterThan(0.012);
    const density = (g: Gate): number => found!.choice.get(g)!.density;
    expect(density(gates[1])).toBeLessThan(density(gates[0]));
  });

  it('reads no more at a lower price of loss', async () => {
    const factors = await sensitivities(gates, measure);
    const read = (price: number): number =>
      [...chooseAt(price, factors)].reduce((sum, [g, cut]) => sum + g.cost * cut.density, 0);
    for (let price = 1; price < 1e5; price *= 3)
      expect(read(price)).toBeLessThanOrEqual(read(price * 3));
  });

  it('says so when no price is dear enough', async () => {
    const factors = await sensitivities(gates, measure);
    expect(await calibrate(factors, 0.01, () => Promise.resolve(1), 6)).toBeUndefined();
  });
});
