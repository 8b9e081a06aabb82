import type { Method } from '../sparsity.ts';
import { dense } from './dense.ts';
import { exact } from './exact.ts';
import { oracle } from './oracle.ts';
import { predictor } from './predictor.ts';
import { random } from './random.ts';
import { staticChoice } from './static.ts';

const knows = { followsPredictor: false, guesses: false } as const;

/** Every method there is. */
export const methods: readonly Method[] = [
  { name: 'dense', needs: 'nothing', ...knows, create: () => dense },
  { name: 'exact', needs: 'nothing', ...knows, create: () => exact },
  {
    name: 'predictor',
    needs: 'predictor',
    followsPredictor: false,
    guesses: true,
    create: predictor,
  },
  { name: 'oracle', needs: 'counts', followsPredictor: true, guesses: false, create: oracle },
  { name: 'random', needs: 'counts', followsPredictor: true, guesses: true, create: random },
  {
    name: 'static',
    needs: 'predictor',
    followsPredictor: true,
    guesses: true,
    create: staticChoice,
  },
];
