import type { ChatTemplate, Message, Tokenizer } from '../tokenizer/index.ts';

/** What a template writes where a reply is over. */
export interface TurnEnd {
  /** Special ids that end a reply. */
  readonly ids: readonly number[];
  /** Where it writes no special id there: the text that follows, up to the next user's words. */
  readonly texts: readonly string[];
}

const reply = 'reply0';
const next = 'next0';

/**
 * How a template ends a reply, learnt by writing a conversation with it. Not every model's configuration
 * names the id; and models that know only texts would go on with the next question themselves.
 */
export function turnEnd(template: ChatTemplate, tokenizer: Tokenizer): TurnEnd {
  const messages: Message[] = [
    { role: 'user', content: 'question0' },
    { role: 'assistant', content: reply },
    { role: 'user', content: next },
  ];
  let written: string;
  try {
    written = template.render(messages, { addGenerationPrompt: false });
  } catch {
    // It wants other messages than these; those of the conversation itself may do.
    return { ids: [], texts: [] };
  }
  const from = written.lastIndexOf(reply) + reply.length;
  const after = written.slice(from, written.lastIndexOf(next));
  const ids = tokenizer.encode(after, { special: false });
  const special = ids.find((id) => isSpecial(tokenizer, id));
  if (special === undefined) return { ids: [], texts: after.trim() ? [after.trimEnd()] : [] };
  return { ids: special === ids.find((id) => !isBlank(tokenizer, id)) ? [special] : [], texts: [] };
}

const isSpecial = (tokenizer: Tokenizer, id: number): boolean =>
  tokenizer.decode([id]) === '' && tokenizer.decode([id], { special: true }) !== '';

const isBlank = (tokenizer: Tokenizer, id: number): boolean =>
  tokenizer.decode([id], { special: true }).trim() === '';
