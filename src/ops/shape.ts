import { EngineError } from '../errors.ts';
import { type DType, quantizedTypes, type Tensor } from '../tensor.ts';

/** Types a weight matrix may have in memory. */
export const weightTypes: readonly DType[] = ['f32', 'f16', ...quantizedTypes];

/**
 * Check the shapes of one op's operands against patterns such as `x: 'T E'`.
 *
 * A letter stands for one size throughout the op, a number for itself. `?` after the operand's name
 * lets it be absent. Returns the sizes by letter.
 */
export function bind(
  op: string,
  patterns: Readonly<Record<string, string>>,
  operands: Readonly<Record<string, Tensor | undefined>>,
): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const [key, pattern] of Object.entries(patterns)) {
    const optional = key.endsWith('?');
    const name = optional ? key.slice(0, -1) : key;
    const tensor = operands[name];
    if (!tensor) {
      if (optional) continue;
      throw new EngineError(
        'BAD_SHAPE',
        `${op}: operand ${name} is missing; expected [${pattern}]`,
      );
    }
    const letters = pattern.split(' ');
    const fits =
      letters.length === tensor.shape.length &&
      letters.every((letter, i) => {
        const found = tensor.shape[i];
        const wanted = /^\d+$/.test(letter) ? Number(letter) : (sizes[letter] ??= found);
        return wanted === found;
      });
    if (!fits)
      throw new EngineError(
        'BAD_SHAPE',
        `${op}: operand ${name} has shape [${tensor.shape}], expected [${letters
          .map((letter) => (letter in sizes ? `${letter}=${sizes[letter]}` : letter))
          .join(', ')}]`,
      );
  }
  return sizes;
}

/** Check the type of one operand, where it is present. */
export function expectType(
  op: string,
  name: string,
  tensor: Tensor | undefined,
  ...types: readonly DType[]
): void {
  if (tensor && !types.includes(tensor.dtype))
    throw new EngineError(
      'BAD_SHAPE',
      `${op}: operand ${name} is ${tensor.dtype}, expected ${types.join(' or ')}`,
    );
}

/** Check a `Selection` tensor: u32 [1 or `rows`, 1 + `count`]. */
export function expectSelection(
  op: string,
  tensor: Tensor | undefined,
  rows: number,
  count: number,
): void {
  if (!tensor) return;
  expectType(op, 'select', tensor, 'u32');
  const [r = 0, n = 0] = tensor.shape;
  if (tensor.shape.length !== 2 || (r !== 1 && r !== rows) || n !== 1 + count)
    throw new EngineError(
      'BAD_SHAPE',
      `${op}: selection has shape [${tensor.shape}], expected [1 or ${rows}, ${1 + count}]`,
    );
}
