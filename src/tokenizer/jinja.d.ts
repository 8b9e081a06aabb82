/**
 * The part of @huggingface/jinja that is used. Its own declarations import without file extensions, which
 * `NodeNext` cannot follow.
 */
declare module '@huggingface/jinja' {
  export interface Program {
    readonly type: 'Program';
  }
  export interface Value {
    readonly type: string;
    readonly value: unknown;
  }

  export function tokenize(
    template: string,
    options: { lstrip_blocks: boolean; trim_blocks: boolean },
  ): unknown[];
  export function parse(tokens: unknown[]): Program;

  export class Environment {
    /** Values become the template's: functions too, which are called with plain values. */
    set(name: string, value: unknown): void;
  }

  export class Interpreter {
    constructor(environment: Environment);
    run(program: Program): Value;
    /** Of every statement and expression, once each time it is reached. */
    evaluate(statement: unknown, environment: Environment): Value;
  }
}
