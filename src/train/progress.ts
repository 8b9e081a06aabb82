/** How far training is. */
export interface TrainProgress {
  /** What is being done, e.g. `fit layer 3`. */
  readonly label: string;
  /** Share of all work that is done, 0 to 1. */
  readonly share: number;
  /** Estimated from the speed so far; undefined until there is one. */
  readonly secondsLeft: number | undefined;
}

/** Phases of known length in their own units; what one unit costs is measured as they run. */
export class Progress {
  readonly #report: (progress: TrainProgress) => void;
  readonly #phases: { units: number; weight: number; done: number }[] = [];
  readonly #start = performance.now();
  #skipped = 0;

  constructor(report: ((progress: TrainProgress) => void) | undefined) {
    this.#report = report ?? (() => undefined);
  }

  /** Announce a phase of `units`, one of which costs about `weight` of others' work. */
  phase(units: number, weight: number): Phase {
    const phase = { units, weight, done: 0 };
    this.#phases.push(phase);
    return {
      advance: (label, count = 1) => {
        phase.done += count;
        this.#tell(label);
      },
      skip: () => {
        this.#skipped += (phase.units - phase.done) * phase.weight;
        phase.done = phase.units;
      },
    };
  }

  #tell(label: string): void {
    const sum = (part: (p: { units: number; weight: number; done: number }) => number): number =>
      this.#phases.reduce((total, phase) => total + part(phase), 0);
    const all = sum((p) => p.units * p.weight);
    const done = sum((p) => p.done * p.weight);
    const worked = done - this.#skipped;
    const seconds = (performance.now() - this.#start) / 1000;
    this.#report({
      label,
      share: all > 0 ? done / all : 0,
      secondsLeft: worked > 0 ? (seconds * (all - done)) / worked : undefined,
    });
  }
}

export interface Phase {
  advance(label: string, count?: number): void;
  /** Nothing of it is left to do: an earlier run did it. */
  skip(): void;
}
