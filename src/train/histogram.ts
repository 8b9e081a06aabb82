import type { ThresholdPoint } from '../predictor.ts';

/** Scores are logits; outside this range there is nothing to choose. */
const lowest = -24;
const highest = 16;
const binsPerUnit = 16;
const bins = (highest - lowest) * binsPerUnit;

/** What held-out examples say about one predictor, by score: all that thresholds are chosen from. */
export class Histogram {
  /** Per bin: units, truly active ones, their contributions, and the squares of these. */
  readonly counts = new Float64Array(bins);
  readonly active = new Float64Array(bins);
  readonly mass = new Float64Array(bins);
  readonly squares = new Float64Array(bins);

  /** Add examples: scores and contributions of the same units; `isActive` says which labels are true. */
  add(
    scores: Float32Array,
    contributions: Float32Array,
    isActive: (contribution: number) => boolean,
  ): void {
    for (let i = 0; i < scores.length; i++) {
      const place = Math.floor((scores[i] - lowest) * binsPerUnit);
      const bin = Math.max(0, Math.min(bins - 1, place));
      const contribution = contributions[i];
      this.counts[bin]++;
      if (isActive(contribution)) this.active[bin]++;
      this.mass[bin] += contribution;
      this.squares[bin] += contribution * contribution;
    }
  }

  /** What each bin's lower edge gives as a threshold, ascending; the first keeps everything. */
  cuts(): Cut[] {
    const totals = {
      counts: sum(this.counts),
      active: sum(this.active),
      mass: sum(this.mass),
      squares: sum(this.squares),
    };
    const share = (part: number, whole: number): number => (whole > 0 ? part / whole : 1);
    const cuts: Cut[] = [];
    let [counts, active, mass, squares] = [0, 0, 0, 0];
    for (let bin = 0; bin < bins; bin++) {
      cuts.push({
        threshold: bin === 0 ? -Infinity : lowest + bin / binsPerUnit,
        density: 1 - share(counts, totals.counts),
        recall: 1 - (totals.active > 0 ? active / totals.active : 0),
        precision: share(totals.active - active, totals.counts - counts),
        kept: 1 - (totals.mass > 0 ? mass / totals.mass : 0),
        missedSquares: totals.squares > 0 ? squares / totals.squares : 0,
      });
      counts += this.counts[bin];
      active += this.active[bin];
      mass += this.mass[bin];
      squares += this.squares[bin];
    }
    return cuts;
  }

  /** A few dozen cuts, evenly spread over density, for the predictor file. */
  curve(): ThresholdPoint[] {
    const cuts = this.cuts().filter(({ threshold }) => Number.isFinite(threshold));
    const wanted = Array.from({ length: 48 }, (_, i) => 0.004 * 250 ** ((47 - i) / 47));
    const picked = new Set(
      wanted.map((density) => cuts.findIndex((cut) => cut.density <= density)),
    );
    return cuts
      .filter((_, i) => picked.has(i))
      .map(({ threshold, recall, precision, density, kept }) => ({
        threshold,
        recall: clampShare(recall),
        precision: clampShare(precision),
        density: clampShare(density),
        kept: clampShare(kept),
      }));
  }

  /** As numbers, to be stored between runs, and back. */
  toArray(): Float64Array<ArrayBuffer> {
    return Float64Array.of(...this.counts, ...this.active, ...this.mass, ...this.squares);
  }

  static from(data: Float64Array): Histogram {
    const histogram = new Histogram();
    const parts = [histogram.counts, histogram.active, histogram.mass, histogram.squares];
    parts.forEach((part, i) => part.set(data.subarray(i * bins, (i + 1) * bins)));
    return histogram;
  }
}

export interface Cut extends ThresholdPoint {
  /** Share of the squared contributions that is not selected: what the loss grows with. */
  readonly missedSquares: number;
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
const clampShare = (x: number): number => Math.min(1, Math.max(0, x));
