import type {
  AttendOptions,
  CacheStep,
  Layout,
  Rotation,
  KeySource,
  StepRows,
} from '../../cache.ts';
import type { AttentionScore, Budget, KeepsChosen, KVPolicy } from '../../kv.ts';
import { attention, store } from '../../ops/attention.ts';
import { keepInput } from '../../ops/backlog.ts';
import { enter, evict, type Ledger, observe } from '../../ops/evict.ts';
import { attendPages, choosePages } from '../../ops/pages.ts';
import { rotary } from '../../ops/rotary.ts';
import type { Recorder } from '../../program.ts';
import { asOperand } from '../../selector.ts';
import type { Tensor } from '../../tensor.ts';
import { anglesOf, type PlaceAngles } from './angles.ts';
import { budgetAt, tokensOf } from './budget.ts';
import type { LateKeys } from './later.ts';
import { type LayerMemory, turnsLate } from './memory.ts';
import { slackOf } from './layout.ts';

/** What the steps of one cache share. */
export interface CacheParts {
  readonly policy: KVPolicy;
  readonly layout: Layout;
  readonly memory: readonly LayerMemory[];
  /** B */
  readonly sequences: number;
  /** Undefined where keys and values are never made later. */
  readonly late: LateKeys | undefined;
  /** By group of layers. */
  readonly placeAngles: readonly PlaceAngles[];
}

/** The recording of one step: how rows enter each layer's cache, and what they see there. */
export class Step implements CacheStep {
  readonly #g: Recorder;
  readonly #rows: StepRows;
  readonly #parts: CacheParts;
  readonly #textAngles: (rotation: Rotation) => Tensor;
  /** By group of layers: angles of rows' places in the cache. */
  readonly #placeAngles: readonly ((rotation: Rotation) => Tensor)[];
  /** Layers whose keys of heads that were not chosen are left for later. */
  readonly #left = new Map<number, KeySource>();
  readonly storeFor?: NonNullable<CacheStep['storeFor']>;

  constructor(g: Recorder, rows: StepRows, parts: CacheParts) {
    this.#g = g;
    this.#rows = rows;
    this.#parts = parts;
    this.#textAngles = anglesOf(g, () => rows.positions);
    this.#placeAngles = rows.places.map((places) => anglesOf(g, () => places));
    const { late } = parts;
    if (late && rows.complete && rows.positions.shape[0] === 1) {
      const catchUp = late.catchingUp(g, rows, true);
      this.storeFor = (layer, heads, source) => {
        const { sequences, positions } = rows;
        this.#left.set(layer, source);
        keepInput(g, { x: source.x, sequences, positions, ring: late.ringOf(layer, source) });
        catchUp(layer, heads, source);
      };
    }
  }

  settling(): ReturnType<CacheStep['settling']> {
    const { late } = this.#parts;
    if (!late || this.#left.size === 0) return undefined;
    return (on) => {
      const catchUp = late.catchingUp(on, this.#rows, false);
      for (const [layer, source] of this.#left) catchUp(layer, undefined, source);
    };
  }

  preparing(): ReturnType<CacheStep['preparing']> {
    const fillings = this.#parts.placeAngles.flatMap((angles) => angles.filling() ?? []);
    if (fillings.length === 0) return undefined;
    return (on) => fillings.forEach((fill) => fill(on));
  }

  store(layer: number, k: Tensor, v: Tensor, rotation: Rotation | undefined): void {
    const { policy, memory } = this.#parts;
    const { keys, values, ledger, pages } = memory[layer];
    const { sequences, positions } = this.#rows;
    const cached = this.#cached(layer);
    const { sinks } = this.#ring(layer);
    if (ledger) {
      const score =
        policy.keeps === 'ranked' && policy.score.by === 'key' ? policy.score : undefined;
      const given = score?.of(this.#g, { k, positions, sequences, layer });
      enter(this.#g, { ...cached, at: positions, given }, ledger);
    }
    const turned = turnsLate(policy) ? k : this.#rotated(k, this.#angles(layer), rotation);
    store(this.#g, { x: turned, cache: keys, ...cached }, sinks);
    store(this.#g, { x: v, cache: values, ...cached }, sinks);
    if (policy.keeps === 'chosen')
      policy.choice.update(this.#g, { k: turned, ...cached, pages: pages!, layer });
  }

  attend(layer: number, q: Tensor, options: AttendOptions): Tensor {
    const { rotation, heads, scale, slopes, window, look = false } = options;
    const { policy, memory } = this.#parts;
    const { keys, values, ledger } = memory[layer];
    if (policy.keeps === 'chosen' && this.#rows.chooses && layer >= policy.choice.fullLayers)
      return this.#attendChosen(policy, layer, q, options);
    const turns = turnsLate(policy);
    const ring = this.#ring(layer);
    const score = look ? undefined : attentionScore(policy);
    const cached = this.#cached(layer);
    const received = score
      ? this.#g.scratch('f32', [this.#parts.sequences, q.shape[1], keys.shape[2]])
      : undefined;
    const places = ledger && (ledger.ranks ?? ledger.positions);
    const operands = {
      q: this.#rotated(q, this.#angles(layer), rotation),
      ...{ keys, values, select: asOperand(heads), slopes, received, ...cached },
      places: turns || slopes || window ? places : undefined,
      angles: turns && rotation ? this.#tableOf(layer).of(rotation) : undefined,
      sinkQ:
        ring.sinks && rotation
          ? this.#rotated(q, this.#placeAngles[this.#group(layer)], rotation)
          : undefined,
    };
    const latest = latestOf(attentionScore(policy));
    const y = attention(this.#g, operands, { scale, window, ...ring, latest });
    if (received)
      observe(
        this.#g,
        { received, ...cached, select: asOperand(heads), ledger: ledger! },
        { latest, layer: score!.of === 'layer', fresh: !score!.sums },
      );
    if (ledger && !look) this.#evict(layer, ledger);
    return y;
  }

  /** Record attention over the pages that the policy chooses for these queries. */
  #attendChosen(
    { choice }: KeepsChosen,
    layer: number,
    unturned: Tensor,
    { rotation, heads, scale, slopes, window }: AttendOptions,
  ): Tensor {
    const { keys, values, pages } = this.#parts.memory[layer];
    const { sinks, recent } = this.#budget(layer);
    const { page } = choice;
    const q = this.#rotated(unturned, this.#textAngles, rotation);
    const select = asOperand(heads);
    const cached = this.#cached(layer);
    const scores = choice.score(this.#g, { q, ...cached, pages: pages!, layer });
    const chosen = choosePages(
      this.#g,
      { scores, slots: cached.slots, select },
      {
        ...{ page, sinks, recent, heads: q.shape[1] },
        count: Math.max(1, Math.floor(tokensOf(this.#budget(layer)) / page)),
      },
    );
    return attendPages(
      this.#g,
      { q, keys, values, ...cached, pages: chosen, select, slopes },
      { scale, window, page },
    );
  }

  /** Record that those tokens of a layer go which are worth the least. */
  #evict(layer: number, ledger: Ledger): void {
    const { policy, memory } = this.#parts;
    const { keys, values } = memory[layer];
    const { sinks, recent } = this.#budget(layer);
    const slack = slackOf(policy);
    evict(this.#g, { ...this.#cached(layer), keys, values }, ledger, {
      ...{ sinks, recent, budget: tokensOf(this.#budget(layer)), slack },
      pool: attentionScore(policy)?.pool ?? 1,
      forget: slack > 0,
    });
  }

  #group(layer: number): number {
    return this.#parts.layout.groups[layer];
  }

  /** Texts and slots of the rows, in a layer. */
  #cached(layer: number): { sequences: Tensor; slots: Tensor } {
    return { sequences: this.#rows.sequences, slots: this.#rows.slots[this.#group(layer)] };
  }

  #budget(layer: number): Budget {
    return budgetAt(this.#parts.policy, layer);
  }

  /** Where slots begin again, of a policy of windows alone. */
  #ring(layer: number): { sinks?: number; recent?: number } {
    if (this.#parts.policy.keeps !== 'windows') return {};
    const { sinks, recent } = this.#budget(layer);
    return { sinks, recent };
  }

  /** By the rows' positions in their texts; where keys are turned when read, by their places in the cache. */
  #angles(layer: number): (rotation: Rotation) => Tensor {
    return turnsLate(this.#parts.policy) ? this.#placeAngles[this.#group(layer)] : this.#textAngles;
  }

  #tableOf(layer: number): PlaceAngles {
    return this.#parts.placeAngles[this.#group(layer)];
  }

  #rotated(x: Tensor, by: (rotation: Rotation) => Tensor, rotation: Rotation | undefined): Tensor {
    return rotation ? rotary(this.#g, x, by(rotation)) : x;
  }
}

const attentionScore = (policy: KVPolicy): AttentionScore | undefined =>
  policy.keeps === 'ranked' && policy.score.by === 'attention' ? policy.score : undefined;

/** Queries of a step that count, as ops take it: 0 for all. */
const latestOf = (score: AttentionScore | undefined): number =>
  score && Number.isFinite(score.queries) ? score.queries : 0;
