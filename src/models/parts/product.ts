import { linear } from '../../ops/linear.ts';
import { type Command, Recorder } from '../../program.ts';
import { type DType, quantGroup, type Tensor } from '../../tensor.ts';

/** A product with a matrix of this type, as families record them: to ask a backend about. It has no memory. */
export function productWith(type: DType): Command {
  const w: Tensor = {
    ...{ dtype: type, shape: [1, quantGroup], role: 'weights' },
    ...{ storage: undefined, byteOffset: 0 },
  };
  const g = new Recorder();
  linear(g, { x: g.scratch('f32', [1, quantGroup]), w });
  return g.commands[0];
}
