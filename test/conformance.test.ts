import './support/all-isas.ts';
import { backends } from '../src/backends/index.ts';
import { conform } from './support/conformance.ts';

for (const factory of backends) await conform(factory);
