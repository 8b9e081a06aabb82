import type { Source } from '../source.ts';
import type { PackedMatrix } from './packed/matrix.ts';

/** One tensor of a file. */
export interface Entry<T extends string = string> {
  /** Hugging Face's. */
  readonly name: string;
  /** As the format of the file names it. */
  readonly type: T;
  /** Row-major, as it lies in the file. */
  readonly shape: readonly number[];
  /** Where its bytes lie, from the beginning of `source`. */
  readonly offset: number;
  readonly bytes: number;
  readonly source: Source;
  /** Where the file has row i of Hugging Face's tensor. Absent: at i. */
  readonly row?: (i: number) => number;
  /** The file has the transpose of Hugging Face's tensor. */
  readonly transposed?: boolean;
  /** It stands for a matrix that lies in several tensors, codes and scales; `bytes` are those of all. */
  readonly packed?: PackedMatrix;
}

/** Tensors of one file or of several shards. Disposing of it closes them. */
export interface TensorFiles extends AsyncDisposable {
  readonly entries: ReadonlyMap<string, Entry>;
  readonly metadata: Readonly<Record<string, string>>;
}
