/**
 * The part of @huggingface/jinja that is used. Its own declarations import without file extensions, which
 * `NodeNext` cannot follow.
 */
declare module '@huggingface/jinja' {
  export interface Program {
    readonly type: 'Program';
  }
  export function tokenize(
    template: string,
    options: { lstrip_blocks: boolean; trim_blocks: boolean },
  ): unknown[];
  export function parse(tokens: unknown[]): Program;
}
