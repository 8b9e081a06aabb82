/** How byte-level BPE divides a text into words, by the names GGUF files have for it. */
export interface WordSplit {
  /** `tokenizer.ggml.pre`. */
  readonly names: readonly string[];
  /** Each divides what those before it left: matches are words, and what lies between them too. */
  readonly patterns: readonly string[];
  /** A word that is a token is taken whole, whatever its merges. */
  readonly ignoreMerges?: boolean;
  /** Texts begin with BOS unless the file says otherwise. */
  readonly addsBegin?: boolean;
}

const words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)";

/** GPT-4's, with as many digits to a token as said. */
const newer = (digits: string): string =>
  "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
  `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

export const wordSplits: readonly WordSplit[] = [
  { names: ['gpt-2', 'mpt', 'olmo', 'jais', 'phi-2', 'gigachat'], patterns: [words] },
  {
    names: ['starcoder', 'refact', 'smollm', 'command-r', 'codeshell', 'exaone', 'minerva-7b'],
    patterns: ['\\p{N}', words],
  },
  {
    names: ['falcon'],
    patterns: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', words, '[0-9][0-9][0-9]'],
  },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3'],
    patterns: [newer('\\p{N}{1,3}')],
    ignoreMerges: true,
    addsBegin: true,
  },
  { names: ['dbrx', 'smaug-bpe'], patterns: [newer('\\p{N}{1,3}')] },
  { names: ['qwen2', 'deepseek-r1-qwen', 'stablelm2', 'megrez'], patterns: [newer('\\p{N}')] },
  { names: ['bloom', 'poro-chat', 'gpt3-finnish'], patterns: [' ?[^(\\s|.,!?…。，、।۔،)]+'] },
];

/** Of files from before there were names for it: what models of an architecture were made with. */
export const formerSplits: Readonly<Record<string, string>> = {
  gpt2: 'gpt-2',
  gptneox: 'gpt-2',
  mpt: 'mpt',
  falcon: 'falcon',
  bloom: 'bloom',
};
