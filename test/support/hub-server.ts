import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export const commit = 'c0ffee'.padEnd(40, '0');

/** What the server does wrong, once for each entry, at the next answer that has the file's bytes. */
export interface Fault {
  readonly file: string;
  /** After so many bytes of the answer … */
  readonly after: number;
  /** … the connection breaks, nothing more comes, or the answer ends as if it were whole. */
  readonly how: 'break' | 'hang' | 'end';
}

export interface Repository {
  readonly name: string;
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** The only token that may read it. */
  readonly token?: string;
  /** Listed but other bytes are sent. */
  readonly wrong?: Readonly<Record<string, Uint8Array>>;
  /** Changes what is listed: sizes, hashes, names. */
  readonly list?: (entries: ListEntry[]) => ListEntry[];
  readonly faults?: readonly Fault[];
  /** Statuses of the first answers of all. */
  readonly statuses?: readonly number[];
  /** Answers without ranges. */
  readonly whole?: boolean;
  /** Where large files are sent from; default the CDN's address. */
  readonly redirect?: string;
}

export interface ListEntry {
  readonly type: 'file' | 'directory';
  readonly path: string;
  readonly size: number;
  readonly oid: string;
  readonly lfs?: { readonly oid: string; readonly size: number; readonly pointerSize: number };
}

/** A request, as it came. `sent`: bytes of the body that were written. */
export interface Seen {
  readonly host: 'hub' | 'cdn';
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  sent: number;
}

export interface HubServer extends AsyncDisposable {
  readonly endpoint: string;
  readonly seen: Seen[];
  /** Those that asked for a file's bytes. */
  readonly of: (file: string) => Seen[];
}

const hash = (algorithm: string, ...parts: (string | Uint8Array)[]): string =>
  parts.reduce((sum, part) => sum.update(part), createHash(algorithm)).digest('hex');

export const sha256 = (bytes: Uint8Array): string => hash('sha256', bytes);
export const gitHash = (bytes: Uint8Array): string => hash('sha1', `blob ${bytes.length}\0`, bytes);

/** The hub stores weights apart and redirects to where they lie. */
const isLarge = (path: string): boolean => /\.(safetensors|gguf|bin)$/.test(path);

/** As the hub lists a file. */
function entryOf(path: string, bytes: Uint8Array): ListEntry {
  const size = bytes.length;
  if (!isLarge(path)) return { type: 'file', path, size, oid: gitHash(bytes) };
  const lfs = { oid: sha256(bytes), size, pointerSize: 134 };
  return { type: 'file', path, size, oid: gitHash(new Uint8Array()), lfs };
}

const json = (to: ServerResponse, value: unknown, headers: Record<string, string> = {}): void => {
  to.writeHead(200, { 'content-type': 'application/json', ...headers });
  to.end(JSON.stringify(value));
};

const refuse = (to: ServerResponse, status: number, code: string): void => {
  to.writeHead(status, { 'x-error-code': code });
  to.end();
};

const listen = async (server: Server): Promise<string> => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
};

/**
 * A server that speaks the hub's protocol, and a second one, on another port, that large files are
 * redirected to. Both on this machine.
 */
export async function startHub(repository: Repository): Promise<HubServer> {
  const seen: Seen[] = [];
  const faults = [...(repository.faults ?? [])];
  const statuses = [...(repository.statuses ?? [])];
  const { name, files, token } = repository;
  const bytesOf = (file: string): Uint8Array => repository.wrong?.[file] ?? files[file];
  const entries = Object.entries(files).map(([path, bytes]) => entryOf(path, bytes));
  const listed = repository.list?.(entries) ?? entries;

  const note = (host: Seen['host'], { url, headers }: IncomingMessage): Seen => {
    const { range, authorization } = headers;
    const one: Seen = { host, path: decodeURIComponent(url!), range, authorization, sent: 0 };
    seen.push(one);
    return one;
  };

  const send = (file: string, to: ServerResponse, one: Seen, headers: object): void => {
    const all = bytesOf(file);
    const from = repository.whole ? 0 : Number(/bytes=(\d+)-/.exec(one.range ?? '')?.[1] ?? 0);
    const body = all.subarray(from);
    const fault = faults.findIndex((planned) => planned.file === file);
    const [planned] = fault < 0 ? [] : faults.splice(fault, 1);
    const part = planned ? body.subarray(0, planned.after) : body;
    to.writeHead(from ? 206 : 200, {
      ...headers,
      ...(planned?.how !== 'end' && { 'content-length': body.length }),
      ...(from && { 'content-range': `bytes ${from}-${all.length - 1}/${all.length}` }),
    });
    one.sent = part.length;
    to.write(part, () => {
      if (!planned || planned.how === 'end') to.end();
      else if (planned.how === 'break') to.destroy();
    });
  };

  const cdn = createServer((request, response) => {
    const one = note('cdn', request);
    const file = Object.keys(files).find((path) => one.path.includes(sha256(files[path])))!;
    send(file, response, one, {});
  });

  const hub = createServer((request, response) => {
    const one = note('hub', request);
    const status = statuses.shift();
    if (status !== undefined) return refuse(response, status, '');
    const [path, query = ''] = one.path.split('?');
    if (!`${path}/`.includes(`/${name}/`)) return refuse(response, 404, 'RepoNotFound');
    if (token !== undefined && one.authorization !== `Bearer ${token}`)
      return refuse(response, one.authorization ? 403 : 401, 'GatedRepo');
    if (path.startsWith(`/api/models/${name}/revision/`))
      return /\/(main|v1|refs\/pr\/2)$/.test(path)
        ? json(response, { _id: '1', id: name, sha: commit, private: false })
        : refuse(response, 404, 'RevisionNotFound');
    if (path === `/api/models/${name}/tree/${commit}`) {
      // Two pages, so that the second is asked for.
      if (query.includes('cursor')) return json(response, listed.slice(1));
      const next = `<${endpoint}${path}?cursor=1>; rel="next"`;
      return json(response, listed.slice(0, 1), { link: next });
    }
    const file = path.slice(`/${name}/resolve/${commit}/`.length);
    const found = listed.find((entry) => entry.path === file);
    if (!found || !(file in files)) return refuse(response, 404, 'EntryNotFound');
    const headers = { 'x-repo-commit': commit };
    if (!found.lfs) return send(file, response, one, { ...headers, etag: `"${found.oid}"` });
    response.writeHead(302, {
      ...headers,
      'x-linked-etag': `"${found.lfs.oid}"`,
      'x-linked-size': found.lfs.size,
      location: `${repository.redirect ?? cdnAddress}/${sha256(files[file])}?signed=1`,
    });
    response.end();
  });

  const [endpoint, cdnAddress] = [await listen(hub), await listen(cdn)];
  return {
    endpoint,
    seen,
    of: (file) =>
      seen.filter(({ host, path }) =>
        isLarge(file)
          ? host === 'cdn' && path.includes(sha256(files[file]))
          : path.endsWith(`/resolve/${commit}/${file}`),
      ),
    async [Symbol.asyncDispose]() {
      for (const server of [hub, cdn]) {
        server.closeAllConnections();
        server.close();
        await once(server, 'close');
      }
    },
  };
}
