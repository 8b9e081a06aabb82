import { EngineError } from '../errors.ts';

/** Where the hub is and how it is spoken to. */
export interface ConnectionOptions {
  /** The hub, or a mirror that speaks its protocol. Default https://huggingface.co. */
  readonly endpoint?: string;
  /** For gated and private models. Sent to the endpoint alone, never where it redirects to. */
  readonly token?: string;
  /** Ends the download; what has come is kept. */
  readonly signal?: AbortSignal;
  /** Wait before the first repetition; each further one waits twice as long. Default 500. */
  readonly retryDelayMs?: number;
  /** Called with what is repeated, and why. */
  readonly onNote?: (note: string) => void;
}

export const hubEndpoint = 'https://huggingface.co';
/** Failures in a row without a byte of progress before giving up. */
const attempts = 5;
const longestDelayMs = 30_000;
const mostRedirects = 5;

/** What may work a moment later: the connection broke, or the server is busy. */
class Transient extends Error {
  readonly afterMs: number | undefined;

  constructor(message: string, afterMs?: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

/** Requests to one hub. Refusals become errors of ours; what may pass is repeated by `persist`. */
export class Connection {
  readonly endpoint: string;
  readonly #options: ConnectionOptions;

  constructor(options: ConnectionOptions) {
    this.endpoint = (options.endpoint ?? hubEndpoint).replace(/\/+$/, '');
    this.#options = options;
    if (!/^https?:/.test(this.endpoint) || !URL.canParse(this.endpoint))
      throw new EngineError(
        'BAD_REQUEST',
        `hub ${JSON.stringify(this.endpoint)}: is no address; expected one such as ${hubEndpoint}; correct \`endpoint\` or HF_ENDPOINT`,
      );
  }

  /**
   * GET, following redirects; `what` is for messages. Throws `HUB_REFUSED`, `NOT_ON_HUB`,
   * `HUB_UNREACHABLE`, and what `persist` repeats.
   */
  async get(
    what: string,
    address: string | URL,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Response> {
    const home = new URL(this.endpoint).origin;
    let url = new URL(String(address));
    for (let hops = 0; hops <= mostRedirects; hops++) {
      const { token, signal } = this.#options;
      const own = url.origin === home && token !== undefined;
      const response = await fetch(url.href, {
        headers: { ...headers, ...(own && { authorization: `Bearer ${token}` }) },
        redirect: 'manual',
        ...(signal && { signal }),
      });
      const location = response.headers.get('location');
      if (response.status < 300 || response.status > 399 || location === null) {
        if (!response.ok && response.status !== 416)
          throw await this.#refusal(what, response, url.origin === home);
        return response;
      }
      await response.body?.cancel();
      const next = URL.canParse(location, url.href) ? new URL(location, url.href) : undefined;
      if (next?.protocol !== 'https:' && next?.protocol !== url.protocol)
        throw unreachable(what, `${url.host} redirects to an address that is not safe`);
      url = next;
    }
    throw unreachable(what, `${url.host} redirects more than ${mostRedirects} times`);
  }

  /** Repeat `work` while it breaks, until it has failed in a row without `progressed` growing. */
  async persist<T>(what: string, work: () => Promise<T>, progressed = (): number => 0): Promise<T> {
    const { signal, retryDelayMs = 500, onNote } = this.#options;
    for (let failures = 0, best = progressed(); ;) {
      try {
        return await work();
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof EngineError) throw error;
        const now = progressed();
        failures = now > best ? 1 : failures + 1;
        best = Math.max(best, now);
        const why = reason(error);
        if (failures >= attempts) throw unreachable(what, why, error);
        onNote?.(`${what}: ${why}; trying again`);
        const asked = error instanceof Transient ? error.afterMs : undefined;
        await pause(Math.min(asked ?? retryDelayMs * 2 ** (failures - 1), longestDelayMs), signal);
      }
    }
  }

  async #refusal(what: string, response: Response, own: boolean): Promise<Error> {
    const { status, headers } = response;
    await response.body?.cancel();
    const code = headers.get('x-error-code') ?? '';
    if (status === 408 || status === 429 || status >= 500 || (!own && status !== 404)) {
      const seconds = Number(headers.get('retry-after') ?? NaN);
      return new Transient(
        `the server answers ${status}`,
        seconds >= 0 ? seconds * 1000 : undefined,
      );
    }
    if (status === 401 || status === 403) {
      const gated = code === 'GatedRepo';
      const found = gated ? 'is gated' : 'is private, gated or not there';
      const token =
        this.#options.token === undefined
          ? 'set HF_TOKEN to a token of yours, or log in with "hf auth login"'
          : 'the token that was given does not open it: check HF_TOKEN and what it may read';
      return new EngineError(
        'HUB_REFUSED',
        `${what}: ${this.endpoint} answers ${status}: it ${found}; expected a model this token may read; ${gated ? 'accept its terms on its page, and ' : ''}${token}`,
      );
    }
    return new EngineError(
      'NOT_ON_HUB',
      `${what}: ${this.endpoint} answers ${status}${code && ` (${code})`}; expected a model, revision and file it has; check their names`,
    );
  }
}

function unreachable(what: string, why: string, cause?: unknown): EngineError {
  return new EngineError(
    'HUB_UNREACHABLE',
    `${what}: ${why}; expected an answer of the hub; try again later: what has come is kept. \`endpoint\` asks another server, \`offline\` none`,
    { cause },
  );
}

/** Fetch says "fetch failed" and "terminated"; why stands in the cause. */
function reason(error: unknown): string {
  const { message, cause } = error as Error;
  const { code, message: deeper } = (cause ?? {}) as { code?: string; message?: string };
  return [message, deeper || code].filter(Boolean).join(': ') || 'the connection broke';
}

const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
