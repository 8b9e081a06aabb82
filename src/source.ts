/**
 * Bytes that can be read from any place: a file, memory, a Blob, a URL. Whoever opened a source
 * disposes of it.
 */
export interface Source extends AsyncDisposable {
  /** For messages. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** Where a file of this machine lies. */
  readonly path?: string;
  /** Exactly these bytes, at the start of a buffer of their own. Throws `BAD_CHECKPOINT` past the end. */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** Sources by name, without sub-folders: a checkpoint. */
export interface Folder {
  /** For messages. */
  readonly name: string;
  /** Names of its files, sorted. */
  readonly files: readonly string[];
  /** Throws `FILE_NOT_FOUND`. */
  open(file: string): Promise<Source>;
  /** A SHA-256 that is faster than one in JavaScript, where this place has one. */
  readonly sha256?: Sha256;
}

/** SHA-256 of chunks one after another, in hexadecimal. */
export type Sha256 = (chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => Promise<string>;

/**
 * The files of one model: a folder of config.json, safetensors and a tokenizer, or a GGUF file in a folder.
 *
 *     const files = { name: 'tiny', folder: memoryFolder({ 'tiny.gguf': bytes }), gguf: 'tiny.gguf' };
 */
export interface ModelFiles {
  /** What results call it. */
  readonly name: string;
  /** Where they lie. */
  readonly folder: Folder;
  /** The GGUF file, the first of its shards. Absent: the model is the folder. */
  readonly gguf?: string;
  /** Where it lies on this machine, the folder or the GGUF file. */
  readonly path?: string;
}
