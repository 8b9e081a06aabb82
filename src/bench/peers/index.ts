import { EngineError } from '../../errors.ts';
import type { Peer } from '../peer.ts';
import { llamaCpp } from './llama-cpp.ts';

/** Every engine that ours can be measured beside. */
export const peers: readonly Peer[] = [llamaCpp];

/** Throws `BAD_REQUEST`. */
export function findPeer(name: string): Peer {
  const peer = peers.find((one) => one.name === name);
  if (peer) return peer;
  throw new EngineError(
    'BAD_REQUEST',
    `\`peer\` is ${JSON.stringify(name)}, expected one of ${peers.map((one) => one.name).join(', ')}; correct it`,
  );
}
