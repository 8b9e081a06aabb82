import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Command, Recording } from '../program.ts';
import { baseOf, byteLength, type Tensor } from '../tensor.ts';

/**
 * Why a backend cannot run some of these commands, one sentence each; empty where it can run all.
 *
 *     refusals(backend, g.commands)
 *     // ['attention with 11 operands: its kernels take 8']
 */
export function refusals(
  backend: Pick<Backend, 'limits' | 'refuses'>,
  commands: readonly Command[],
): string[] {
  const reasons = commands.flatMap((command) => {
    const { name } = command.op;
    const beyond = beyondLimits(backend.limits, command);
    if (beyond !== undefined) return [beyond];
    const reason = backend.refuses(command);
    return reason === undefined ? [] : [`${name}: ${reason}`];
  });
  return [...new Set(reasons)];
}

function beyondLimits(
  { operands: most, alignment }: Backend['limits'],
  { op, operands }: Command,
): string | undefined {
  const given = Object.entries(operands).flatMap(([name, t]) => (t ? [{ name, ...t }] : []));
  if (given.length > most)
    return `${op.name} with ${given.length} operands: its kernels take ${most}`;
  const view = given.find(({ byteOffset }) => byteOffset % alignment !== 0);
  return (
    view &&
    `${op.name} of a view: ${view.name} begins at byte ${view.byteOffset} of its tensor, and kernels take multiples of ${alignment}`
  );
}

/** Throws `BACKEND_REFUSES` with every reason why a backend cannot run these commands. */
export function expectAccepted(
  backend: Pick<Backend, 'name' | 'limits' | 'refuses'>,
  commands: readonly Command[],
): void {
  const reasons = refusals(backend, commands);
  if (reasons.length === 0) return;
  throw new EngineError(
    'BACKEND_REFUSES',
    `${backend.name} backend: cannot run ${reasons.join('; ')}; expected ops it has kernels for; use another \`backend\``,
  );
}

/** Throws `INTERNAL` where `bytes` to be written are more or fewer than the tensor has. */
export function expectBytes({ dtype, shape }: Tensor, bytes: ArrayBufferView): void {
  const wanted = byteLength(dtype, shape);
  if (bytes.byteLength === wanted) return;
  throw new EngineError(
    'INTERNAL',
    `${bytes.byteLength} bytes are written to a tensor ${dtype} [${shape}]; expected ${wanted}`,
  );
}

/**
 * Throws `INTERNAL` where a scratch tensor is to be read that its program did not keep: something else may lie
 * in its memory by then.
 */
export function expectKept(tensor: Tensor, recording: Recording | undefined): void {
  if (tensor.storage || recording?.kept.has(baseOf(tensor))) return;
  throw new EngineError(
    'INTERNAL',
    `a scratch tensor ${tensor.dtype} [${tensor.shape}] is read that ${recording ? 'was not kept' : 'has no program'}; expected one that was recorded with \`keep\`, and its program`,
  );
}
