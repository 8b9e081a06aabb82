import os from 'node:os';

/** Bytes a process can still take here, the limits of its container counted in. */
export const availableMemory = (): number => process.availableMemory?.() ?? os.freemem();
