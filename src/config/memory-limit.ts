// What `--memory-limit` and `memoryLimit` mean: "auto", a size, a part of the machine, or 0 for none. "The machine" is
// what this process may use of it: physical memory, or less where a control group or resource limit says so.

import { readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { formatBytes, parseBytes } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export interface MemoryLimitOptions {
  /** Threads of one worker. */
  readonly nthreads: number
  /** Workers that share this machine and get the same limit. */
  readonly nworkers?: number
  /** Default: what this process may use. */
  readonly cores?: number
  /** Bytes; default: `systemMemoryLimit()`. */
  readonly systemBytes?: number
}

const ACCEPTED = '"auto", a size such as "4 GiB", a part of the machine such as 0.5, or 0 for no limit'

/** The limit of one worker in bytes, 0 for none. @throws PlimsollError CONFIG_INVALID. */
export function parseMemoryLimit(value: string | number, options: MemoryLimitOptions): number {
  return resolveMemoryLimit(value, options).bytes
}

/** The same, with a warning when more was asked for than the machine has (the limit is what it has, then). */
export function resolveMemoryLimit(
  value: string | number,
  options: MemoryLimitOptions,
): { readonly bytes: number; readonly warning: string | null } {
  const systemBytes = options.systemBytes ?? systemMemoryLimit()
  if (value === 'auto') {
    const cores = options.cores ?? availableParallelism()
    const share = Math.min(1, options.nthreads / cores, 1 / (options.nworkers ?? 1))
    return { bytes: Math.floor(systemBytes * share), warning: null }
  }
  const text = String(value).trim()
  const number = text === '' ? Number.NaN : Number(text)
  if (number > 0 && (number < 1 || (number === 1 && text !== '1')))
    return { bytes: Math.floor(systemBytes * number), warning: null }
  if (number >= 1 && number < 1024) throw ambiguous(text)
  const bytes = sizeOf(value)
  if (bytes <= systemBytes) return { bytes, warning: null }
  const warning = `memory limit ${JSON.stringify(value)} is more than this machine may use (${formatBytes(systemBytes)}); it is ${formatBytes(systemBytes)} now`
  return { bytes: systemBytes, warning }
}

/** Bytes that the processes of this control group may use together. */
export function systemMemoryLimit(readText: (path: string) => string | null = readTextFile): number {
  const limits = [totalmem(), ...controlGroupLimits(readText), residentLimit(readText)]
  return Math.min(...limits.filter((bytes) => Number.isSafeInteger(bytes) && bytes > 0))
}

function sizeOf(value: string | number): number {
  try {
    return parseBytes(value)
  } catch (error) {
    const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
    throw invalid(`memory limit ${shown} cannot be read; accepted: ${ACCEPTED}`, value, error)
  }
}

function ambiguous(text: string): PlimsollError {
  const hint = `for the whole machine write "1.0" or "auto", for a size add a unit, such as "${text} GiB"`
  return invalid(`memory limit ${text} is neither a part of the machine nor a plausible number of bytes; ${hint}`, text)
}

function invalid(message: string, value: string | number, cause?: unknown): PlimsollError {
  return new PlimsollError('CONFIG_INVALID', message, { key: 'memory-limit', value, accepted: ACCEPTED }, { cause })
}

/** Limits of the process's own group and of all groups above it: any of them may be the smallest. */
function controlGroupLimits(readText: (path: string) => string | null): number[] {
  const limits: number[] = []
  for (const line of (readText('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers = '', group = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (group === '') continue
    const isV2 = controllers === ''
    if (!isV2 && !controllers.split(',').includes('memory')) continue
    const root = isV2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory'
    const names = isV2 ? ['memory.max', 'memory.high'] : ['memory.limit_in_bytes', 'memory.soft_limit_in_bytes']
    // Inside a container the group's path may not exist below the mount, but the mount's root is that group.
    for (const folder of foldersUpTo(group)) {
      for (const name of names) limits.push(Number.parseInt(readText(join(root, folder, name)) ?? '', 10))
    }
  }
  return limits
}

function foldersUpTo(group: string): string[] {
  const parts = group.split('/').filter((part) => part !== '' && part !== '..')
  return [...parts.map((_, i) => parts.slice(0, parts.length - i).join('/')), '']
}

function residentLimit(readText: (path: string) => string | null): number {
  const line = /^Max resident set\s+(\S+)/m.exec(readText('/proc/self/limits') ?? '')
  return Number.parseInt(line?.[1] ?? '', 10)
}

function readTextFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
