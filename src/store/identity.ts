// Whose values a worker's directories hold: one small file in each tier. Values of another boot of the machine (a power
// failure may leave a file its length but not its bytes) or of another cluster or generation (equal keys may name other
// values) are deleted unread.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FileTier } from './file-tier.ts'
import type { StoreFs } from './store-fs.ts'
import type { StoreIdentity } from './store.ts'

const FILE_NAME = 'identity.json'
const FILE_BYTES_MAX = 64 * 1024

/** The boot of this machine; null where the system does not tell. */
export function currentBootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return null
  }
}

/** Null when there is none, or it is of another boot or unreadable. */
export async function readIdentity(fs: StoreFs, tier: FileTier, bootId: string | null): Promise<StoreIdentity | null> {
  try {
    const bytes = await fs.read(join(tier.directory, FILE_NAME), 0, FILE_BYTES_MAX)
    const found: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'))
    if (typeof found !== 'object' || found === null) return null
    const { boot, clusterId, generation } = found as Record<string, unknown>
    if (boot !== bootId || typeof clusterId !== 'string' || !Number.isSafeInteger(generation)) return null
    return { clusterId, generation: generation as number }
  } catch {
    return null
  }
}

export async function writeIdentity(
  fs: StoreFs,
  tier: FileTier,
  bootId: string | null,
  identity: StoreIdentity,
): Promise<void> {
  const text = JSON.stringify({ boot: bootId, ...identity, incarnation: tier.context.incarnation })
  await fs.replaceFile(join(tier.directory, FILE_NAME), Buffer.from(text))
}

export async function removeIdentity(tier: FileTier): Promise<void> {
  await tier.unlinkQuietly(join(tier.directory, FILE_NAME))
}

export function sameIdentity(a: StoreIdentity | null, b: StoreIdentity | null): boolean {
  return a !== null && b !== null && a.clusterId === b.clusterId && a.generation === b.generation
}
