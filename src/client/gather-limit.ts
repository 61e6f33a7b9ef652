import { freemem } from 'node:os'

/** How long one reading of the free memory counts. */
const FRESH_MS = 100

let readAt = Number.NEGATIVE_INFINITY
let freeBytes = 0

/** `client.gather-limit` in bytes: up to 1 it is a part of what is free on this machine, or in this container. */
export function gatherLimitBytes(setting: number): number {
  if (setting > 1) return setting
  const now = performance.now()
  if (now - readAt > FRESH_MS) {
    readAt = now
    freeBytes = freeMemory()
  }
  return Math.floor(setting * freeBytes)
}

function freeMemory(): number {
  const free = freemem()
  // 0, undefined or a huge number when there is no limit.
  const limit = process.constrainedMemory()
  return limit > 0 && limit < 2 ** 50 ? Math.min(free, Math.max(0, limit - process.memoryUsage.rss())) : free
}
