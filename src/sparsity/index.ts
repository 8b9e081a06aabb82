import type { Method } from '../sparsity.ts';
import { dense } from './dense.ts';
import { exact } from './exact.ts';
import { oracle } from './oracle.ts';
import { predictor } from './predictor.ts';
import { random } from './random.ts';
import { staticChoice } from './static.ts';

/** Every method there is. */
export const methods: readonly Method[] = [
  { name: 'dense', needs: 'nothing', followsPredictor: false, create: () => dense },
  { name: 'exact', needs: 'nothing', followsPredictor: false, create: () => exact },
  { name: 'predictor', needs: 'predictor', followsPredictor: false, create: predictor },
  { name: 'oracle', needs: 'counts', followsPredictor: true, create: oracle },
  { name: 'random', needs: 'counts', followsPredictor: true, create: random },
  { name: 'static', needs: 'predictor', followsPredictor: true, create: staticChoice },
];
