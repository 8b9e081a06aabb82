import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { loadAddon } from '../src/backends/native/addon.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

function install(folder: string, isas: string): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(folder, 'scripts/install.mjs')],
    { encoding: 'utf8', env: { ...process.env, DEJAVU_ISAS: isas } },
  );
  return { status, said: stdout + stderr };
}

/** An instruction set that was compiled here, of the sources as they are; undefined where none was. */
function compiledIsa(): string | undefined {
  try {
    return existsSync(path.join(root, 'build/objects')) ? loadAddon().isas().at(-1) : undefined;
  } catch {
    return undefined;
  }
}

describe('scripts/install.mjs', () => {
  it('refuses an instruction set that there is not', () => {
    const { status, said } = install(root, 'avx1024');
    expect(status).toBe(2);
    expect(said).toMatch(/DEJAVU_ISAS: avx1024; expected all, or some of .*scalar/);
  });

  const isa = compiledIsa();

  describe.skipIf(!isa)('with objects of an earlier build', () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'dejavu-install-'));
    afterAll(() => rmSync(folder, { recursive: true }));
    for (const name of ['native', 'scripts', 'package.json'])
      cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
    const store = path.join(folder, 'build/objects');
    const kept = path.join(root, 'build/objects');
    mkdirSync(store, { recursive: true });
    for (const name of readdirSync(kept))
      symlinkSync(path.join(kept, name), path.join(store, name));
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
    const objects = (): string[] => readdirSync(store).filter((name) => name.endsWith('.o'));

    it('compiles what changed alone', () => {
      const before = objects();
      appendFileSync(path.join(folder, 'native/src/memory.cc'), '// changed\n');
      const { said } = install(folder, isa!);
      expect(said).toContain(`dejavu.node for ${isa}`);
      const fresh = objects().filter((name) => !before.includes(name));
      // addon.cc holds the hash of all sources, isa.cc the list of instruction sets.
      expect(fresh.map((name) => name.split('-')[0]).sort()).toEqual(
        expect.arrayContaining(['addon.cc', 'memory.cc']) as string[],
      );
      expect(fresh.filter((name) => name.startsWith('isa_'))).toEqual([]);
      expect(existsSync(path.join(folder, 'build/Release/dejavu.node'))).toBe(true);
      expect(install(folder, isa!).said).toContain('up to date');
    }, 120_000);
  });
});
