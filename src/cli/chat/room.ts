import type { ChatStats } from '../../engine/chat.ts';

/** How full the cache is; where it keeps less than the conversation may have, that is not the context. */
export const room = ({ cachedTokens, cacheTokens, context }: ChatStats): string =>
  cacheTokens < context
    ? `${cachedTokens} of ${cacheTokens} tokens kept`
    : `${cachedTokens} of ${context} tokens of context`;
