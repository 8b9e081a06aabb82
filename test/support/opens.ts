import type { BackendFactory } from '../../src/backend.ts';
import { backends } from '../../src/backends/index.ts';

/** The backends that open here; others are skipped by what `who` tests, visibly. */
export async function factoriesThatOpen(who: string): Promise<BackendFactory[]> {
  const opening: BackendFactory[] = [];
  for (const factory of backends)
    try {
      await (await factory.open({}))[Symbol.asyncDispose]();
      opening.push(factory);
    } catch {
      console.warn(`${who}: the ${factory.name} backend does not open here; skipped`);
    }
  return opening;
}

/** Their names. */
export const backendsThatOpen = async (who: string): Promise<string[]> =>
  (await factoriesThatOpen(who)).map(({ name }) => name);
