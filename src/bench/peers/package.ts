import { EngineError } from '../../errors.ts';

/** Import a package that is installed only where somebody compares with it. Throws `BACKEND_UNAVAILABLE`. */
export async function importPackage<T>(name: string, versions: string): Promise<T> {
  try {
    return (await import(/* @vite-ignore */ name)) as T;
  } catch (cause) {
    throw new EngineError(
      'BACKEND_UNAVAILABLE',
      `\`peer\`: ${name} cannot be loaded (${(cause as Error).message}); expected it beside this package, which does not bring it; install it with: npm install --no-save --ignore-scripts ${name}@${versions}`,
      { cause },
    );
  }
}
