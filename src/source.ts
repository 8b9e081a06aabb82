/**
 * Bytes that can be read from any place: a file, later a URL or a blob. Whoever opened a source
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
}
