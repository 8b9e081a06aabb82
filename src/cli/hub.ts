import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { EngineError } from '../errors.ts';
import { cachedModel, isHubModel, pull, type PullOptions, type PullResult } from '../hub/pull.ts';
import type { hubFlags, pullFlags, Values } from './flags.ts';
import { type Io, note } from './io.ts';
import { bytes } from './layout.ts';
import { inFlags } from './library-names.ts';
import { startProgress } from './progress.ts';
import { yesOrNo } from './values.ts';

/** The path of a model; one of the hub comes from the cache, or is fetched first. */
export async function fetchModel(
  model: string,
  flags: Values<typeof hubFlags>,
  io: Io,
): Promise<string> {
  if (!(await isHubModel(model))) return model;
  const options = await hubOptions(flags, io);
  const found = await cachedModel(model, options);
  if (found) return found.path;
  if (!options.offline)
    note(io, `${model}: no such file or folder, nor in the cache; asking the hub`);
  return (await pullVisibly(model, options, io)).path;
}

/** The path of a model of the hub as it is there now; where the hub is out of reach, as the cache has it. */
export async function freshModel(
  model: string,
  flags: Values<typeof hubFlags & typeof pullFlags>,
  io: Io,
): Promise<string> {
  if (!(await isHubModel(model))) return model;
  const options = await hubOptions(flags, io);
  try {
    return (await pullVisibly(model, options, io)).path;
  } catch (error) {
    const unreachable = error instanceof EngineError && error.code === 'HUB_UNREACHABLE';
    const found = unreachable ? await cachedModel(model, options) : undefined;
    if (!found) throw error;
    note(io, `note: the hub cannot be reached; ${found.id} is taken from the cache`);
    return found.path;
  }
}

/** Pull with a bar for who watches, and a line a file for everyone else. */
export async function pullVisibly(
  model: string,
  options: PullOptions,
  io: Io,
): Promise<PullResult> {
  const kept = (): void => note(io, 'what has come is kept; the same command goes on from there');
  io.signal.addEventListener('abort', kept, { once: true });
  using progress = startProgress(io);
  let last = '';
  const result = await pull(model, {
    ...options,
    signal: io.signal,
    onNote: (line) => note(io, `note: ${inFlags(line)}`),
    onProgress: (done, of, file) => {
      progress.update(of === 0 ? 1 : done / of, `${file} · ${bytes(done)} of ${bytes(of)}`);
      if (file !== last && !io.stderr.isTTY) note(io, `${file} · ${bytes(done)} of ${bytes(of)}`);
      last = file;
    },
  });
  io.signal.removeEventListener('abort', kept);
  return result;
}

/** What flags say, else the variables that the hub's other tools read too. */
export async function hubOptions(
  { mirror, offline, ...which }: Values<typeof hubFlags & typeof pullFlags>,
  { env }: Io,
): Promise<PullOptions> {
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
  const cache = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub');
  const endpoint = mirror ?? (env.HF_ENDPOINT || undefined);
  const token = env.HF_TOKEN || (await readToken(env.HF_TOKEN_PATH || join(home, 'token')));
  const switched = env.HF_HUB_OFFLINE ? yesOrNo(env.HF_HUB_OFFLINE, 'HF_HUB_OFFLINE') : undefined;
  return {
    ...which,
    cache,
    offline: offline ?? switched ?? false,
    ...(endpoint !== undefined && { endpoint }),
    ...(token && { token }),
  };
}

/** What "hf auth login" left. */
const readToken = (path: string): Promise<string> =>
  readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => '',
  );
