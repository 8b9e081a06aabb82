/**
 * Every refusal of the engine, with a stable code.
 *
 * A message has four parts: where, what was found, what was expected, what to do. `status` is the
 * exit status of the command line: 1, it could not be done; 2, the request itself is wrong.
 */
export const errorCodes = {
  BAD_REQUEST: { status: 2, meaning: 'a flag, option or argument has a value it cannot have' },
  PROMPT_TOO_LONG: { status: 2, meaning: 'the prompt does not fit the context' },
  BAD_TEXT: { status: 2, meaning: 'a text is not valid UTF-8, or holds no token' },
  BAD_DATA: { status: 1, meaning: 'a file of items to evaluate is malformed' },
  ABORTED: { status: 130, meaning: 'the caller aborted the work' },
  FILE_NOT_FOUND: { status: 1, meaning: 'a file or folder is not there or cannot be read' },
  BAD_CHECKPOINT: { status: 1, meaning: 'a weight file is truncated or contradicts itself' },
  BAD_SHAPE: { status: 1, meaning: 'a tensor has another shape or type than the model needs' },
  MISSING_TENSOR: { status: 1, meaning: 'a weight the model needs is not in the checkpoint' },
  BAD_CONFIG: {
    status: 1,
    meaning:
      'config.json or generation_config.json is malformed, or asks for what is not supported',
  },
  UNKNOWN_FAMILY: { status: 1, meaning: 'no model family of this engine has that model_type' },
  NO_TOKENIZER: { status: 1, meaning: 'text was given, but the model has no usable tokenizer' },
  NO_CHAT_TEMPLATE: {
    status: 1,
    meaning: 'messages were given, but the model has no usable chat template',
  },
  BAD_PREDICTOR: { status: 1, meaning: 'a predictor file is malformed or made for another model' },
  NO_PREDICTOR: { status: 1, meaning: 'the method needs a predictor file and there is none' },
  BACKEND_UNAVAILABLE: { status: 1, meaning: 'the backend asked for does not work here' },
  BACKEND_OUTDATED: { status: 1, meaning: 'the compiled backend is not that of this program' },
  BACKEND_REFUSES: { status: 1, meaning: 'the backend has no kernel for what the work needs' },
  OUT_OF_MEMORY: { status: 1, meaning: 'the work needs more memory than is available' },
  VERIFY_FAILED: { status: 1, meaning: 'outputs differ from the reference beyond the tolerance' },
  HUB_UNREACHABLE: {
    status: 1,
    meaning: 'the hub does not answer, or the connection keeps breaking',
  },
  HUB_REFUSED: { status: 1, meaning: 'the hub wants a token that may read the model' },
  NOT_ON_HUB: {
    status: 1,
    meaning: 'the hub has no such model, revision or file that can be loaded',
  },
  NOT_CACHED: { status: 1, meaning: 'a model of the hub is not in the cache, and nobody is asked' },
  BAD_DOWNLOAD: { status: 1, meaning: 'what the server sends is not what it lists' },
  DISK_FULL: { status: 1, meaning: 'there is no room for a download' },
  DISPOSED: { status: 1, meaning: 'an engine, batch or text is used after its end' },
  INTERNAL: { status: 1, meaning: 'a fault of the engine itself' },
} as const satisfies Record<string, { status: number; meaning: string }>;

/** What went wrong; `errorCodes` says what each means. */
export type ErrorCode = keyof typeof errorCodes;

/** The one error class of the engine; branch on `code`. */
export class EngineError extends Error {
  /** What went wrong, for callers to branch on. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'EngineError';
    this.code = code;
  }

  /** Exit status of a command that ends with this error. */
  get status(): number {
    return errorCodes[this.code].status;
  }
}

/** Throws `BAD_REQUEST` where an option is no whole number within its bounds; `of` says what `most` is. */
export function expectWhole(
  option: string,
  value: number,
  least: number,
  most = Infinity,
  of = '',
): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  const bounds = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}${of}`;
  throw new EngineError(
    'BAD_REQUEST',
    `\`${option}\` is ${value}, expected a whole number ${bounds}; correct it`,
  );
}
