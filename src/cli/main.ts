#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { run } from './run.ts';

const interruption = new AbortController();
process.on('SIGINT', () => {
  if (interruption.signal.aborted) process.exit(130);
  interruption.abort();
});
// Writes report their own failure (EPIPE); unheard, the stream's report of it would be fatal.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

function rawCommandLine(): Uint8Array | undefined {
  if (!process.argv.some((argument) => argument.includes('\ufffd'))) return undefined;
  try {
    return readFileSync('/proc/self/cmdline');
  } catch {
    return undefined;
  }
}

process.exitCode = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  commandLine: rawCommandLine(),
  env: process.env,
  signal: interruption.signal,
});
