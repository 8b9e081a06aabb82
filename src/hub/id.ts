import { EngineError } from '../errors.ts';

/** A model of the hub as it is named here: `ORG/NAME`, `ORG/NAME@REVISION`, `ORG/NAME:FILE`. */
export interface HubId {
  /** ORG/NAME. */
  readonly name: string;
  /** Branch, tag or commit. Absent: `main`. */
  readonly revision?: string;
  /** Which GGUF file: its name, a pattern with `*`, or a part of it such as `Q4_K_M`. */
  readonly file?: string;
}

const shape = /^([\w][\w.-]*\/[\w][\w.-]*)(?:@([^:@]+))?(?::(.+))?$/;

/** Undefined for whatever cannot be an id of the hub, paths of `.gguf` files among them. */
export function parseHubId(text: string): HubId | undefined {
  const [, name, revision, file] = shape.exec(text) ?? [];
  // The hub allows neither, and a cache folder's name would not tell them apart.
  if (!name || /--|\.\./.test(name) || /\.gguf$/i.test(name)) return undefined;
  return { name, ...(revision && { revision }), ...(file && { file }) };
}

/** As `parseHubId`. Throws `BAD_REQUEST`. */
export function expectHubId(text: string): HubId {
  const id = parseHubId(text);
  if (!id)
    throw new EngineError(
      'BAD_REQUEST',
      `${text}: is no id of the hub; expected ORG/NAME, ORG/NAME@REVISION or ORG/NAME:FILE.gguf; correct it`,
    );
  const { revision } = id;
  if (revision !== undefined) expectInside(revision, 'BAD_REQUEST', 'the revision');
  return id;
}

/** A relative path that stays inside the folder it is joined to, on every system. */
export function expectInside(
  path: string,
  code: 'BAD_REQUEST' | 'BAD_DOWNLOAD',
  what: string,
): void {
  const odd = /[\\:*?"<>|\u0000-\u001f]/;
  const parts = path.split('/');
  if (parts.every((part) => part !== '' && part !== '.' && part !== '..' && !odd.test(part)))
    return;
  throw new EngineError(
    code,
    `${what} ${JSON.stringify(path)}: would lead out of the cache; expected a plain relative path; ask whoever named it so`,
  );
}

/** A commit, in full. */
export const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);
