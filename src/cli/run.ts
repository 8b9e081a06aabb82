import { EngineError } from '../errors.ts';
import { type Io, note, write } from './io.ts';
import { decodeText } from '../texts.ts';
import { inFlags } from './library-names.ts';
import { parse } from './parse.ts';

const interrupted = 130;

/** Run a command line (without the program's name); returns its exit status. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    return await attempt(argv, io);
  } catch (error) {
    // Whoever read our output has gone; there is nobody left to tell.
    if ((error as { code?: unknown }).code === 'EPIPE') return 0;
    throw error;
  }
}

async function attempt(argv: readonly string[], io: Io): Promise<number> {
  let json = argv.includes('--json') || io.env.DEJAVU_JSON === '1';
  let debug = argv.includes('--debug');
  try {
    if (io.commandLine) decodeText(io.commandLine, 'command line');
    const work = parse(argv, io);
    if ('help' in work) {
      await write(io.stdout, work.help);
      return 0;
    }
    ({ json, debug } = work);
    const { result, text, failure } = await work.start();
    const error = failure && { error: describe(failure) };
    await write(io.stdout, json ? `${JSON.stringify({ ...result, ...error })}\n` : text);
    if (failure) note(io, errorLine(failure));
    return io.signal.aborted ? interrupted : (failure?.status ?? 0);
  } catch (cause) {
    if ((cause as { code?: unknown }).code === 'EPIPE') throw cause;
    const error = asEngineError(cause, io.signal);
    if (json) await write(io.stdout, `${JSON.stringify({ error: describe(error) })}\n`);
    note(io, errorLine(error));
    if (debug) note(io, stackOf(cause));
    return error.status;
  }
}

const describe = ({ code, message }: EngineError): { code: string; message: string } => ({
  code,
  message: inFlags(message),
});

const errorLine = ({ code, message }: EngineError): string =>
  `error [${code}]: ${inFlags(message).replaceAll(/\s*\n\s*/g, ' ')}`;

function asEngineError(cause: unknown, signal: AbortSignal): EngineError {
  if (cause instanceof EngineError) return cause;
  if (signal.aborted) return new EngineError('ABORTED', 'interrupted', { cause });
  const message = cause instanceof Error ? cause.message : String(cause);
  return new EngineError('INTERNAL', `${message}; this is a fault of ours, please report it`, {
    cause,
  });
}

function stackOf(cause: unknown): string {
  const { stack = String(cause), cause: deeper } = cause as Error;
  return deeper === undefined ? stack : `${stack}\ncaused by ${stackOf(deeper)}`;
}
