// Names the place a process can open files in. Two processes with the same token may name files to one another: they run
// under one boot of one kernel, see the same mounts, map user ids alike, and belong to the same user, so a path means
// the same file to both and its 0400 mode lets both read it. Anything less (another container, another user, a copied
// machine image) gives another token, and values travel as bytes.

import { readFileSync, readlinkSync } from 'node:fs'

let cached: string | null | undefined

/** The token of this process; null where it cannot be told (no /proc), which equals no other token. */
export function hostToken(): string | null {
  if (cached === undefined) cached = computeHostToken()
  return cached
}

/** True when both sides told a token and they are the same one. */
export function sameHost(a: string | null, b: string | null): boolean {
  return a !== null && a === b
}

function computeHostToken(): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    const mounts = readlinkSync('/proc/self/ns/mnt')
    const users = readlinkSync('/proc/self/ns/user')
    if (boot === '' || process.geteuid === undefined) return null
    return `${boot}/${mounts}/${users}/uid:${process.geteuid()}`
  } catch {
    return null
  }
}
