// Where a run took place: without it a figure says little.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Peer, SYSTEM_TITLES } from './case.ts'
import { DASK_PYTHON, POOLS } from './prepare.ts'

export interface Surroundings {
  readonly date: string
  readonly machine: {
    readonly cores: number
    readonly model: string
    readonly memoryBytes: number
    readonly platform: string
  }
  /** Of what is installed here; a peer that is not has none. */
  readonly versions: Readonly<Record<string, string>>
  /** The operating system's load average over a minute. */
  readonly load: { readonly before: number; readonly after: number }
}

export const currentLoad = (): number => loadavg()[0] ?? 0

/** `peers`: those that took part, whose versions are told. */
export function surroundings(loadBefore: number, peers: readonly Peer[]): Surroundings {
  return {
    date: new Date().toISOString(),
    machine: {
      cores: availableParallelism(),
      model: cpus()[0]?.model.trim() || process.arch,
      memoryBytes: totalmem(),
      platform: `${process.platform} ${release()}`,
    },
    versions: {
      Plimsoll: manifestVersion(new URL('../package.json', import.meta.url)) ?? 'unknown',
      Node: process.versions.node,
      ...(peers.some((peer) => peer.startsWith('dask')) ? daskVersions() : {}),
      ...poolVersions(peers),
    },
    load: { before: loadBefore, after: currentLoad() },
  }
}

function daskVersions(): Record<string, string> {
  if (!existsSync(DASK_PYTHON)) return {}
  const program =
    'import json, platform, distributed; print(json.dumps([distributed.__version__, platform.python_version()]))'
  try {
    const [dask, python] = JSON.parse(execFileSync(DASK_PYTHON, ['-c', program], { encoding: 'utf8' })) as string[]
    return { 'Dask distributed': dask ?? 'unknown', Python: python ?? 'unknown' }
  } catch {
    return {}
  }
}

function poolVersions(peers: readonly Peer[]): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of peers.filter((peer) => peer === 'piscina' || peer === 'poolifier')) {
    const version = manifestVersion(join(POOLS, 'node_modules', name, 'package.json'))
    if (version !== null) found[SYSTEM_TITLES[name]] = version
  }
  return found
}

function manifestVersion(path: string | URL): string | null {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
  } catch {
    return null
  }
}
