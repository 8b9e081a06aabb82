import { EngineError } from '../errors.ts';
import type { Family } from '../model.ts';
import { arcee } from './arcee.ts';
import { bloom } from './bloom.ts';
import { falcon } from './falcon.ts';
import { gptNeoX } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { mpt } from './mpt.ts';
import { nearest } from './nearest.ts';
import { nemotron } from './nemotron.ts';
import { opt } from './opt.ts';
import { qwen2 } from './qwen2.ts';
import { qwen3 } from './qwen3.ts';

/** Every model family there is. */
export const families: readonly Family[] = [
  arcee,
  bloom,
  falcon,
  gpt2,
  gptNeoX,
  llama,
  mistral,
  mpt,
  nemotron,
  opt,
  qwen2,
  qwen3,
];

/** The family of a parsed config.json. Throws `BAD_CONFIG`, `UNKNOWN_FAMILY`. */
export function familyOf(json: unknown, where: string): Family {
  const { model_type: modelType, architectures } = Object(json) as Record<string, unknown>;
  if (typeof modelType !== 'string')
    throw new EngineError(
      'BAD_CONFIG',
      `${where}: has no model_type; expected the configuration of a Hugging Face checkpoint; check the folder`,
    );
  const family = families.find(({ modelTypes }) => modelTypes.includes(modelType));
  if (family) return family;
  const classes = (Array.isArray(architectures) ? architectures : [])
    .filter((name) => typeof name === 'string')
    .map((name) => name.slice(0, 100));
  const known = families.flatMap(({ modelTypes }) => modelTypes);
  const stems = classes.map((name) => name.replace(/(For[A-Z]\w*|LMHeadModel|Model)$/, ''));
  const like = nearest([modelType, ...stems], known);
  const named = classes.length ? ` (${classes.join(', ')})` : '';
  throw new EngineError(
    'UNKNOWN_FAMILY',
    `${where}: model_type is ${JSON.stringify(modelType.slice(0, 100))}${named}, which no family here reads${like.length ? ` (nearest by name: ${like.join(', ')})` : ''}; expected ${known.join(', ')}; choose another model, or add src/models/${modelType.slice(0, 100).replaceAll(/\W/g, '-')}.ts`,
  );
}
