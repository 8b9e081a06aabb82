import * as z from 'zod';
import { EngineError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { isCommit } from './id.ts';

/** A file of a repository, as the hub lists it. */
export interface HubFile {
  readonly name: string;
  readonly bytes: number;
  /** What its contents must hash to; also its name among the blobs. */
  readonly hash: string;
  /** Large files have the SHA-256 of their bytes, others git's SHA-1 of a blob. */
  readonly algorithm: 'sha256' | 'git';
}

const bytes = z.int().nonnegative();
const entry = z.object({
  path: z.string(),
  size: bytes,
  oid: z.string().regex(/^[0-9a-f]{40}$/),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: bytes }).optional(),
});

/** More than any repository of a model has. */
const mostFiles = 100_000;

/** The commit a branch or tag stands at. */
export async function findCommit(
  connection: Connection,
  name: string,
  revision: string,
): Promise<string> {
  if (isCommit(revision)) return revision;
  const { modelInfo } = await import('@huggingface/hub');
  const where = `${name}@${revision}`;
  const { sha } = await connection.persist(where, () =>
    modelInfo({
      name,
      revision,
      additionalFields: ['sha'],
      hubUrl: connection.endpoint,
      fetch: through(connection, where),
    }),
  );
  if (isCommit(sha)) return sha;
  throw malformed(where, `names no commit but ${JSON.stringify(sha)}`);
}

/** Every file of a commit. */
export async function listRepository(
  connection: Connection,
  name: string,
  commit: string,
): Promise<HubFile[]> {
  const { listFiles } = await import('@huggingface/hub');
  return await connection.persist(name, async () => {
    const files: HubFile[] = [];
    const entries = listFiles({
      repo: { type: 'model', name },
      revision: commit,
      recursive: true,
      hubUrl: connection.endpoint,
      fetch: through(connection, name),
    });
    for await (const found of entries) {
      if (found.type === 'directory') continue;
      const { data, error } = entry.safeParse(found);
      if (!data) throw malformed(name, `lists ${JSON.stringify(found)}`, error);
      if (files.length === mostFiles) throw malformed(name, `lists more than ${mostFiles} files`);
      const { path, oid, size, lfs } = data;
      files.push(
        lfs
          ? { name: path, bytes: lfs.size, hash: lfs.oid, algorithm: 'sha256' }
          : { name: path, bytes: size, hash: oid, algorithm: 'git' },
      );
    }
    return files;
  });
}

/** The library's requests go the way of ours: redirects, the token and refusals are seen to there. */
const through =
  (connection: Connection, what: string): typeof fetch =>
  (address) =>
    connection.get(what, address instanceof Request ? address.url : address);

const malformed = (where: string, found: string, cause?: unknown): EngineError =>
  new EngineError(
    'BAD_DOWNLOAD',
    `${where}: the server ${found.slice(0, 200)}; expected what the hub's protocol says; check \`endpoint\` or HF_ENDPOINT`,
    { cause },
  );
