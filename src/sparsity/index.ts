import type { Method } from '../sparsity.ts';
import { dense } from './dense.ts';
import { exact } from './exact.ts';
import { oracle } from './oracle.ts';
import { predictor } from './predictor.ts';
import { random } from './random.ts';
import { staticChoice } from './static.ts';

const table = [
  { name: 'dense', summary: 'all', needs: 'nothing', create: () => dense },
  {
    name: 'exact',
    summary:
      'all; what follows a zero activation is skipped: the same result, fewer bytes where there is ReLU',
    needs: 'nothing',
    create: () => exact,
  },
  {
    name: 'predictor',
    summary:
      'those that trained low-rank predictors ask for, one block ahead (`maxLoss` or `recall`)',
    needs: 'predictor',
    choosesAhead: true,
    create: predictor,
  },
  {
    name: 'oracle',
    summary: 'those that truly contribute most: the ceiling, and slower than dense',
    needs: 'counts',
    countsAsCalibrated: true,
    create: oracle,
  },
  {
    name: 'random',
    summary: 'as many, at random: the floor',
    needs: 'counts',
    countsAsCalibrated: true,
    choosesAhead: true,
    create: random,
  },
  {
    name: 'static',
    summary: 'always those that contributed most over the training text',
    needs: 'usage',
    countsAsCalibrated: true,
    choosesAhead: true,
    create: staticChoice,
  },
] as const satisfies readonly Method[];

/** Every method there is. */
export const methods: readonly Method[] = table;

/** What `sparsity` calls the methods that come with the engine. */
export type MethodName = (typeof table)[number]['name'];
