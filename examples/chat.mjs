// A conversation whose turns share one cache: node examples/chat.mjs
// books-6m was trained on books, not on conversations, so it is given a template of its own.
import { Engine } from 'dejavu-llm';

const template = "{% for m in messages %}{{ m['content'] }}\n\n{% endfor %}";
const engine = await Engine.open('books-6m', { sparsity: 'dense' });
const chat = engine.chat({ template });
for (const said of ['"Who is there?" asked the captain.', '"Come in," he said.']) {
  const { text, reusedTokens } = await chat.send(said, { maxTokens: 16, temperature: 0 }).result;
  console.log(`> ${said}\n${text.trim()}\n(${reusedTokens} tokens were in the cache)`);
}
console.log(`${chat.messages.length} messages`);
chat[Symbol.dispose]();
await engine[Symbol.asyncDispose]();
