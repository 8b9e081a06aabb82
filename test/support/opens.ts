import { backends } from '../../src/backends/index.ts';

/** Names of the backends that open here; others are skipped by what `who` tests, visibly. */
export async function backendsThatOpen(who: string): Promise<string[]> {
  const names: string[] = [];
  for (const factory of backends)
    try {
      await (await factory.open({}))[Symbol.asyncDispose]();
      names.push(factory.name);
    } catch {
      console.warn(`${who}: the ${factory.name} backend does not open here; skipped`);
    }
  return names;
}
