import { EngineError } from '../../errors.ts';
import type { Folder, Source } from '../../source.ts';
import { type GgufHeader, type GgufTensor, readGguf } from './reader.ts';

/** A file, or all shards of one. Disposing of it closes them. */
export interface OpenedGguf extends GgufHeader, AsyncDisposable {
  readonly sources: readonly Source[];
}

/**
 * Open a GGUF file of a folder, with the shards that belong to it, and check their headers. Throws
 * `FILE_NOT_FOUND`, `BAD_CHECKPOINT`.
 */
export async function openGguf(folder: Folder, file: string): Promise<OpenedGguf> {
  const sources: Source[] = [];
  const close = async (): Promise<void> => {
    for (const source of sources) await source[Symbol.asyncDispose]();
  };
  const open = async (shard: string): Promise<GgufHeader> => {
    const source = await folder.open(shard);
    sources.push(source);
    return await readGguf(source);
  };
  try {
    const first = await open(file);
    const [{ name }] = sources;
    const tensors = new Map(first.tensors);
    const others = otherShards(file, name, first);
    for (const [i, shard] of others.entries()) {
      const header = await open(shard);
      addShard(sources[i + 1].name, header, i + 1, others.length + 1, tensors);
    }
    return { metadata: first.metadata, tensors, sources, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

const shardName = /-(\d{5})-of-(\d{5})\.gguf$/i;

/** The shards after the first; none of a file that is whole. */
function otherShards(file: string, where: string, { metadata }: GgufHeader): string[] {
  const count = metadata.get('split.count') ?? 1;
  if (count === 1 || count === 0) return [];
  const [name, number, total] = shardName.exec(file) ?? [];
  if (!name || Number(total) !== count)
    throw failure(where, `is one of ${String(count)} shards`, '… -00001-of-0000N.gguf, its name');
  if (Number(number) !== 1 || metadata.get('split.no') !== 0)
    throw failure(where, 'is not the first shard', 'that one, which names the others');
  return Array.from({ length: count - 1 }, (_, i) =>
    file.replace(shardName, `-${String(i + 2).padStart(5, '0')}-of-${total}.gguf`),
  );
}

function addShard(
  where: string,
  { metadata, tensors }: GgufHeader,
  number: number,
  count: number,
  into: Map<string, GgufTensor>,
): void {
  const [no, of] = [metadata.get('split.no'), metadata.get('split.count')];
  if (no !== number || of !== count)
    throw failure(where, `is shard ${String(no)} of ${String(of)}`, `${number} of ${count}`);
  for (const [name, tensor] of tensors) {
    if (into.has(name)) throw failure(where, `${name} is in another shard too`, 'each tensor once');
    into.set(name, tensor);
  }
}

const failure = (where: string, found: string, expected: string): EngineError =>
  new EngineError('BAD_CHECKPOINT', `${where}: ${found}; expected ${expected}; check the files`);
