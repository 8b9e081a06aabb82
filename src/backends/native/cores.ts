import { readFileSync } from 'node:fs';
import os from 'node:os';

/**
 * Physical cores this process may use. Two hardware threads of one core share its vector units and its
 * path to memory, so a second one only adds barriers. Where the system does not say, its processors.
 */
export function physicalCores(): number {
  const processors = os.availableParallelism();
  if (os.platform() !== 'linux') return processors;
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    const allowed = parseList(/^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? '');
    const cores = new Set(
      allowed.map((cpu) =>
        readFileSync(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`, 'utf8'),
      ),
    );
    return Math.max(1, Math.min(processors, cores.size));
  } catch {
    return processors;
  }
}

/** Numbers of a list such as `0-2,5`. */
export function parseList(list: string): number[] {
  return list
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}
