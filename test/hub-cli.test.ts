/** Models of the hub on the command line; a server on this machine stands in for it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { run } from '../src/cli/run.ts';
import type { ChatResult } from '../src/engine/chat.ts';
import type { GenerateResult } from '../src/engine/generate.ts';
import { pull, type PullResult } from '../src/hub/pull.ts';
import { asGguf } from './support/as-gguf.ts';
import type { GgufValue } from './support/gguf-file.ts';
import {
  blob,
  bytes,
  cache,
  cacheByOthers,
  checkpoint,
  folder,
  hub,
  name,
  root,
  server,
  snapshot,
  stopHub,
  weights,
  weightsFile,
} from './support/hub-cache.ts';

interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const word = (id: number): string => `w${String(id).padStart(3, '0')}`;

/** A vocabulary of words `w003`, `w004`, … and a template, as GGUF metadata, for the checkpoint that the hub has here. */
function vocabulary(): (readonly [string, GgufValue])[] {
  const { vocab_size } = JSON.parse(readFileSync(join(checkpoint, 'config.json'), 'utf8')) as {
    vocab_size: number;
  };
  const tokens = ['<unk>', '<s>', '</s>'];
  for (let id = tokens.length; id < vocab_size; id++) tokens.push(word(id));
  const values = tokens.map((_, id) => (id < 3 ? 3 : 4));
  return [
    ['tokenizer.ggml.model', 'llama'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.scores', { of: 6, values: tokens.map((_, id) => -id) }],
    ['tokenizer.ggml.token_type', { of: 5, values }],
    ['tokenizer.ggml.bos_token_id', 1],
    [
      'tokenizer.chat_template',
      '{{ bos_token }}w009{% for m in messages %}{{ m.content }}{% endfor %}w009',
    ],
  ];
}

/** The command line, with a home of the hub's tools of its own. */
async function dejavu(
  argv: readonly string[],
  env: Record<string, string> = {},
  signal = new AbortController().signal,
): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const [out, err] = [text(stdout), text(stderr)];
  const around = { HF_HUB_CACHE: cache, HF_HOME: join(cache, 'home'), ...env };
  const status = await run(argv, {
    stdin: Readable.from([]),
    stdout,
    stderr,
    env: around,
    signal,
  });
  stdout.end();
  stderr.end();
  return { status, stdout: await out, stderr: await err };
}

const ids = ['--ids', '1,2,3', '--max-tokens', '4', '--temperature', '0', '--backend', 'reference'];

describe('the command line', () => {
  test('pull prints the folder; with --json all of it', async () => {
    const { endpoint } = await hub();
    const env = { HF_ENDPOINT: endpoint! };
    const { status, stdout, stderr } = await dejavu(['pull', name], env);
    expect([status, stdout]).toEqual([0, `${snapshot()}\n`]);
    expect(stderr).toMatch(/model\.safetensors · .* of/);
    const again = await dejavu(['pull', name, '--json'], env);
    const result = JSON.parse(again.stdout) as PullResult;
    expect(Object.keys(result)).toEqual(['id', 'revision', 'folder', 'path', 'files', 'bytes']);
    expect(result.files.map(({ cached }) => cached)).toEqual([true, true, true]);
  });

  test('--mirror wins over HF_ENDPOINT; the token is that of the environment or of the login', async () => {
    const { endpoint } = await hub({ token: 'hf_right' });
    const mirror = ['--mirror', endpoint!];
    const env = { HF_ENDPOINT: 'http://127.0.0.1:9' };
    const refused = await dejavu(['pull', name, ...mirror], env);
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining('[HUB_REFUSED]')]);
    mkdirSync(join(cache, 'home'), { recursive: true });
    writeFileSync(join(cache, 'home/token'), 'hf_right\n');
    expect((await dejavu(['pull', name, ...mirror], env)).status).toBe(0);
    const wrong = await dejavu(['pull', name, ...mirror], { ...env, HF_TOKEN: 'hf_wrong' });
    expect(wrong.stderr).toContain('[HUB_REFUSED]');
  });

  test('generate fetches a model first, and then never asks again', async () => {
    const { endpoint } = await hub();
    const argv = ['generate', name, ...ids, '--json', '--mirror', endpoint!];
    const first = await dejavu(argv);
    expect(first.status, first.stderr).toBe(0);
    expect(first.stderr).toContain('asking the hub');
    const local = await dejavu(['generate', checkpoint, ...ids, '--json']);
    const idsOf = ({ stdout }: Ran): unknown => (JSON.parse(stdout) as GenerateResult).ids;
    expect(idsOf(first)).toEqual(idsOf(local));
    server!.seen.length = 0;
    expect(idsOf(await dejavu(argv))).toEqual(idsOf(local));
    expect(server!.seen).toEqual([]);
  });

  test('a GGUF file of the hub', async () => {
    const { endpoint } = await hub({
      files: { 'llama-F32.gguf': await asGguf(checkpoint), 'llama-Q8_0.gguf': bytes('other') },
    });
    const argv = [...ids, '--json', '--mirror', endpoint!];
    const unnamed = await dejavu(['generate', name, ...argv]);
    expect(unnamed.status).toBe(2);
    expect(unnamed.stderr).toContain('llama-F32.gguf, llama-Q8_0.gguf');
    const { status, stderr } = await dejavu(['generate', `${name}:F32`, ...argv]);
    expect(status, stderr).toBe(0);
  });

  test('a repository of one GGUF file and nothing else: its tokenizer and template are inside', async () => {
    const { endpoint } = await hub({
      files: {
        'README.md': bytes('no tokenizer.json, no config.json'),
        'llama-F32.gguf': await asGguf(checkpoint, vocabulary()),
        'llama-imatrix.gguf': bytes('statistics'),
      },
    });
    const argv = ['--json', '--mirror', endpoint!, '--max-tokens', '4', '--temperature', '0'];
    const { status, stdout, stderr } = await dejavu(['generate', name, '-p', 'w300w005', ...argv]);
    expect(status, stderr).toBe(0);
    const { promptIds, ids, text } = JSON.parse(stdout) as GenerateResult;
    expect(promptIds).toEqual([1, 300, 5]);
    expect(text).toBe(ids.map(word).join(''));
    const said = await dejavu(['chat', name, '-p', 'w007', ...argv]);
    expect(said.status, said.stderr).toBe(0);
    expect((JSON.parse(said.stdout) as GenerateResult).promptIds).toEqual([1, 9, 7, 9]);
  });

  test('run is pull and chat in one, with the flags of both', async () => {
    const { endpoint } = await hub({
      files: {
        'llama-F32.gguf': await asGguf(checkpoint, vocabulary()),
        'llama-Q8_0.gguf': bytes('other'),
      },
    });
    const asked = ['-p', 'w007', '--json', '--max-tokens', '4', '--temperature', '0'];
    const argv = ['run', name, '--file', 'F32', '--mirror', endpoint!, ...asked];
    const first = await dejavu(argv);
    expect(first.status, first.stderr).toBe(0);
    const { promptIds, messages } = JSON.parse(first.stdout) as ChatResult;
    expect(promptIds).toEqual([1, 9, 7, 9]);
    expect(messages).toHaveLength(2);
    expect(server!.of('llama-F32.gguf')).not.toEqual([]);
    // Again: the hub is asked what is new, and nothing is.
    server!.seen.length = 0;
    const second = await dejavu(argv);
    expect((JSON.parse(second.stdout) as ChatResult).text).toBe(
      (JSON.parse(first.stdout) as ChatResult).text,
    );
    expect(server!.seen).not.toEqual([]);
    expect(server!.of('llama-F32.gguf')).toEqual([]);
    // Out of reach, or not to be asked: what is there does.
    await stopHub();
    const away = await dejavu(argv);
    expect(away.status, away.stderr).toBe(0);
    expect(away.stderr).toContain('the hub cannot be reached; tiny/llama is taken from the cache');
    const offline = await dejavu(['run', name, '--offline', ...asked]);
    expect(offline.status, offline.stderr).toBe(0);
    expect(offline.stderr).not.toContain('cannot be reached');
    const missing = await dejavu(['run', 'tiny/other', '--offline', ...asked]);
    expect(missing.stderr).toContain('[NOT_CACHED]');
    // A path is a model too, and what chat refuses is refused.
    const plain = await dejavu(['run', checkpoint, ...asked]);
    expect(plain.stderr).toContain('[NO_TOKENIZER]');
  });

  test('a family there is none of is refused before its weights come, with those nearest', async () => {
    const unknown = { model_type: 'mixtral', architectures: ['MixtralForCausalLM'] };
    const { endpoint } = await hub({
      files: { 'config.json': bytes(JSON.stringify(unknown)), [weightsFile]: weights },
    });
    for (const command of ['run', 'pull']) {
      const { status, stderr } = await dejavu([command, name, '--mirror', endpoint!]);
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(
          /\[UNKNOWN_FAMILY\]: tiny\/llama\/config\.json: model_type is "mixtral" \(MixtralForCausalLM\), .*nearest by name: mistral/,
        ),
      ]);
    }
    expect(server!.of(weightsFile)).toEqual([]);
  });

  test.each([
    [['--offline'], {}],
    [[], { HF_HUB_OFFLINE: '1' }],
  ])(
    'offline (%j, %j): what another tool cached is used, what is not there says how to come by it',
    async (flags, env) => {
      const { endpoint } = await hub();
      const argv = ['generate', name, ...ids, '--json', '--mirror', endpoint!, ...flags];
      const missing = await dejavu(argv, env);
      expect([missing.status, missing.stderr]).toEqual([
        1,
        expect.stringMatching(/^error \[NOT_CACHED\]: tiny\/llama: .*"dejavu pull tiny\/llama"/),
      ]);
      cacheByOthers();
      expect((await dejavu(argv, env)).status).toBe(0);
      const pulled = await dejavu(['pull', name, '--json', ...flags], env);
      expect((JSON.parse(pulled.stdout) as PullResult).folder).toBe(snapshot());
      expect(server!.seen).toEqual([]);
    },
  );

  test('a link that leads nowhere is not in the cache', async () => {
    cacheByOthers();
    rmSync(blob(weights));
    expect(lstatSync(join(snapshot(), weightsFile)).isSymbolicLink()).toBe(true);
    expect((await dejavu(['pull', name, '--offline'])).stderr).toContain('[NOT_CACHED]');
    const { endpoint } = await hub();
    expect((await dejavu(['pull', name, '--mirror', endpoint!])).status).toBe(0);
    expect(readFileSync(join(snapshot(), weightsFile)).equals(weights)).toBe(true);
  });

  test('Ctrl-C ends it with 130 and says what is kept', async () => {
    const { endpoint } = await hub({ faults: [{ file: weightsFile, after: 2000, how: 'hang' }] });
    const stop = new AbortController();
    const ran = dejavu(['pull', name, '--mirror', endpoint!], {}, stop.signal);
    const partial = `${blob(weights)}.incomplete`;
    const written = (): unknown => existsSync(partial) && statSync(partial).size;
    await expect.poll(written, { timeout: 20_000 }).toBe(2000);
    stop.abort();
    const { status, stderr } = await ran;
    expect(status).toBe(130);
    expect(stderr).toContain('what has come is kept');
    expect(statSync(partial).size).toBe(2000);
  });

  test('what is no id is refused', async () => {
    for (const model of ['books-6m', 'a/b/c', '../x', 'a--b/c', './a'])
      expect((await dejavu(['pull', model])).status, model).toBe(2);
  });
});

const main = join(root, 'dist/cli/main.js');
const built =
  existsSync(join(root, 'dist/hub/pull.js')) &&
  statSync(join(root, 'dist/hub/pull.js')).mtimeMs >
    Math.max(
      ...readdirSync(join(root, 'src/hub')).map(
        (file) => statSync(join(root, 'src/hub', file)).mtimeMs,
      ),
    );

test.skipIf(!built)(
  'a process that is killed leaves what came (skipped where dist/ is older than src/hub)',
  async () => {
    const options = await hub({ faults: [{ file: weightsFile, after: 2000, how: 'hang' }] });
    const env = { ...process.env, HF_HUB_CACHE: cache, HF_ENDPOINT: options.endpoint! };
    const child = spawn(process.execPath, [main, 'pull', name], { env });
    const partial = `${blob(weights)}.incomplete`;
    const written = (): unknown => existsSync(partial) && statSync(partial).size;
    await expect.poll(written, { timeout: 20_000 }).toBe(2000);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false);
    await pull(name, options);
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=2000-');
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  },
  30_000,
);
