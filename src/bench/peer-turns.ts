import type { PeerDescription, PeerSession } from './peer.ts';
import { ratio, type Spread, spread, timed } from './spread.ts';

/** What a peer did in one phase, beside each of our methods. */
export interface PeerRun extends Pick<PeerDescription, 'isa' | 'architecture' | 'stored'> {
  /** The engine. */
  readonly name: string;
  /** Of its package. */
  readonly version: string;
  /** Our type of weights, of which its matrices take as many bytes. */
  readonly weights: string;
  /** Decode steps, or the prefill of a whole text. */
  readonly phase: 'decode' | 'prefill';
  /** Texts decoded together. */
  readonly batch: number;
  /** Tokens of a text when decoding begins. */
  readonly context: number;
  /** Of all texts together. */
  readonly tokensPerSecond: Spread;
  /** Bytes read for each token; of a prefill, for the whole of it divided by its tokens. */
  readonly bytesPerToken: { readonly weights: number; readonly kv: number };
  /** Bytes read per second, as a share of the measured bandwidth. */
  readonly bandwidthShare: number;
  /** Our speed divided by its speed in the same round, by method. */
  readonly ratios: Readonly<Record<string, Spread>>;
}

/** Our tokens a second by round, in the phase and at the number of texts a peer is compared in. */
export interface OurRates {
  readonly method: string;
  readonly phase: 'decode' | 'prefill';
  readonly batch: number;
  readonly rates: readonly number[];
}

/** The turns a peer takes in the rounds of a bench: the same prompts, the same ids, the same order. */
export class PeerTurns {
  readonly #session: PeerSession;
  readonly #prompts: readonly Int32Array[];
  readonly #steps: number;
  readonly #decode: ReadonlyMap<number, number[]>;
  readonly #prefill: number[] = [];
  #prepared = false;

  constructor(
    session: PeerSession,
    options: {
      readonly prompts: readonly Int32Array[];
      readonly steps: number;
      /** Numbers of texts decoded together. */
      readonly sizes: readonly number[];
    },
  ) {
    this.#session = session;
    this.#prompts = options.prompts;
    this.#steps = options.steps;
    this.#decode = new Map(options.sizes.map((size) => [size, []]));
  }

  /** Prefill, and decode at every number of texts; what is not `kept` warms caches. */
  async take(kept: boolean): Promise<void> {
    const session = this.#session;
    const context = this.#prompts[0].length;
    if (!this.#prepared)
      for (const [text, prompt] of this.#prompts.entries()) await session.prefill(text, prompt);
    this.#prepared = true;
    session.truncate(0, 0);
    const seconds = await timed(() => session.prefill(0, this.#prompts[0]));
    if (kept) this.#prefill.push(context / seconds);
    for (const [size, rates] of this.#decode) {
      for (let text = 0; text < size; text++) session.truncate(text, context);
      const seconds = await timed(async () => {
        for (let i = 0; i < this.#steps; i++)
          await session.decode(this.#prompts.slice(0, size).map((prompt) => prompt[i % context]));
      });
      if (kept) rates.push((this.#steps * size) / seconds);
    }
  }

  /** Its runs, decode first. */
  results(
    about: Pick<PeerRun, 'name' | 'version' | 'weights'>,
    ours: readonly OurRates[],
    bandwidthGBs: number,
  ): PeerRun[] {
    const { isa, architecture, stored, weightBytes, kvBytes } = this.#session.description;
    const context = this.#prompts[0].length;
    const run = (
      phase: PeerRun['phase'],
      batch: number,
      rates: readonly number[],
      bytesPerToken: PeerRun['bytesPerToken'],
    ): PeerRun => {
      const tokensPerSecond = spread(rates);
      const read = bytesPerToken.weights + bytesPerToken.kv;
      return {
        ...about,
        ...{ isa, architecture, stored, phase, batch, context, tokensPerSecond, bytesPerToken },
        bandwidthShare: (read * tokensPerSecond.median) / (bandwidthGBs * 1e9),
        ratios: Object.fromEntries(
          ours
            .filter((our) => our.phase === phase && our.batch === batch)
            .map((our) => [our.method, ratio(our.rates, rates)]),
        ),
      };
    };
    // A step reads the tokens before it, its own included.
    const kv = kvBytes * (context + (this.#steps + 1) / 2);
    return [
      ...[...this.#decode].map(([size, rates]) =>
        run('decode', size, rates, { weights: weightBytes / size, kv }),
      ),
      run('prefill', 1, this.#prefill, { weights: weightBytes / context, kv: 0 }),
    ];
  }
}
