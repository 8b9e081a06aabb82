import * as z from 'zod';
import type { Engine } from '../engine/engine.ts';
import { EngineError } from '../errors.ts';
import { f32, i32 } from '../rows.ts';
import { createPolicy } from '../kv/parts/budget.ts';
import { policies } from '../kv/index.ts';
import { fileExists, openFolder } from '../loaders/fs.ts';
import { readJsonFile } from '../loaders/json.ts';
import type { HostTensor } from '../op.ts';
import { dense } from '../sparsity/dense.ts';
import { compare, type Difference, openTensors } from './outputs.ts';

/** What a text is to come to under KV policies, by case: token by token from an empty cache. */
export interface KvGolden {
  /** Of the file of tensors. */
  readonly path: string;
  /** i32 [T] */
  readonly ids: HostTensor;
  /** Policies that were run. */
  readonly cases: readonly KvCase[];
}

/** One policy over one text, and what a reference of it gave. */
export interface KvCase {
  /** Of the case. */
  readonly name: string;
  /** What the cache keeps, in tokens. */
  readonly policy: z.infer<typeof policySchema>;
  /** f32 [T, V]: after each token. */
  readonly logits: HostTensor;
  /** Tokens in the cache at the end, ascending, by layer and KV head. */
  readonly kept: readonly (readonly (readonly number[])[])[];
}

/** How a case came out; `keptEqual`: every layer and KV head keeps exactly the tokens it should. */
export interface KvComparison extends Difference {
  /** Every layer and KV head keeps exactly the tokens it should. */
  readonly keptEqual: boolean;
}

const count = z.int().nonnegative();
const policySchema = z.object({
  kind: z.string(),
  sinks: count.optional(),
  heavy: count.optional(),
  recent: count.optional(),
});
const schema = z.record(
  z.string(),
  z.object({ policy: policySchema, kept: z.array(z.array(z.array(count))) }),
);

/** kv-golden.safetensors and kv-golden.json of a folder; undefined where it has none. */
export async function readKvGolden(folder: string): Promise<KvGolden | undefined> {
  const path = `${folder}/kv-golden.safetensors`;
  if (!(await fileExists(path))) return undefined;
  const take = await openTensors(path);
  const parsed = schema.safeParse(
    await readJsonFile(await openFolder(folder), 'kv-golden.json', 'BAD_CHECKPOINT'),
  );
  if (!parsed.success)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${folder}/kv-golden.json: ${parsed.error.issues[0].path.join('.')}: ${parsed.error.issues[0].message}; expected a policy and the kept tokens of each case`,
    );
  const cases = Object.entries(parsed.data).map(([name, { policy, kept }]) => ({
    ...{ name, policy, kept },
    logits: take(`${name}.logits`, 'f32'),
  }));
  return { path, ids: take('input_ids', 'i32'), cases };
}

/** Run every case. Throws `BAD_SHAPE` where the file is of another model. */
export async function compareKv(
  engine: Engine,
  { path, ids, cases }: KvGolden,
): Promise<Record<string, KvComparison>> {
  const { vocabulary, layers, kvHeads } = engine.description;
  const compared: Record<string, KvComparison> = {};
  for (const { name, policy, logits, kept } of cases) {
    const T = ids.shape[0];
    if (
      logits.shape.join() !== [T, vocabulary].join() ||
      kept.length !== layers ||
      kept.some((heads) => heads.length !== kvHeads)
    )
      throw new EngineError(
        'BAD_SHAPE',
        `${path}, ${name}: logits are [${logits.shape}] and kept tokens of ${kept.length} layers; expected [${T}, ${vocabulary}], ${layers} layers and ${kvHeads} KV heads; check that it belongs to this model`,
      );
    const kind = policies.find((known) => known.name === policy.kind);
    if (!kind)
      throw new EngineError(
        'BAD_CHECKPOINT',
        `${path}, ${name}: its policy is "${policy.kind}", expected one of ${policies.map((p) => p.name).join(', ')}`,
      );
    const { sinks, heavy, recent } = policy;
    const asked = Object.entries({ sinks, heavy, recent }).filter(([, n]) => n !== undefined);
    using session = engine.session(
      dense,
      createPolicy(kind, Object.fromEntries(asked), engine.description),
    );
    const computed = new Float32Array(T * vocabulary);
    for (const [t, id] of i32(ids).entries())
      computed.set(await session.decode(id), t * vocabulary);
    let keptEqual = true;
    for (const [layer, heads] of kept.entries())
      for (const [head, tokens] of heads.entries())
        keptEqual &&= (await session.keptPositions(layer, head)).join() === tokens.join();
    compared[name] = { ...compare(computed, f32(logits)), keptEqual };
  }
  return compared;
}
