// Gets the peers: Dask into a virtual environment, the pools into a node_modules of their own. Both are made once, remade
// when their versions change here, and are no part of the package. A peer that cannot be had is a reason, not an end.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Peer } from './case.ts'

const DASK_PACKAGES = ['dask[distributed]==2026.7.1', 'numpy==2.4.6']

const VENV = fileURLToPath(new URL('./.venv', import.meta.url))
export const DASK_PYTHON = join(VENV, 'bin/python')
export const POOLS = fileURLToPath(new URL('./peers', import.meta.url))

/** Why a peer cannot be measured; absent for those that can. */
export type Missing = Partial<Record<Peer, string>>

export function prepare(peers: readonly Peer[], say: (text: string) => void): Missing {
  const missing: Missing = {}
  const attempt = (needing: readonly Peer[], make: (say: (text: string) => void) => void): void => {
    const wanted = needing.filter((peer) => peers.includes(peer))
    if (wanted.length === 0) return
    try {
      make(say)
    } catch (error) {
      for (const peer of wanted) missing[peer] = error instanceof Error ? error.message : String(error)
    }
  }
  attempt(['dask', 'dask-unsaturated'], prepareDask)
  attempt(['piscina', 'poolifier'], preparePools)
  return missing
}

function prepareDask(say: (text: string) => void): void {
  const stamp = join(VENV, '.plimsoll-bench')
  const wanted = DASK_PACKAGES.join(' ')
  if (readText(stamp) === wanted) return
  say(`bench: installing ${wanted} into bench/.venv`)
  rmSync(VENV, { recursive: true, force: true })
  if (!run('python3', ['-m', 'venv', VENV]).ok && !run('virtualenv', [VENV]).ok) {
    throw new Error('no virtual environment can be made: install python3 with venv and ensurepip, or virtualenv')
  }
  const installed = run(DASK_PYTHON, [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    ...DASK_PACKAGES,
  ])
  if (!installed.ok) throw new Error(`pip could not install ${wanted}: ${installed.lastLine}`)
  writeFileSync(stamp, wanted)
}

function preparePools(say: (text: string) => void): void {
  const stamp = join(POOLS, 'node_modules/.plimsoll-bench')
  const wanted = createHash('sha256')
    .update(readFileSync(join(POOLS, 'package-lock.json')))
    .digest('hex')
  if (existsSync(stamp) && readText(stamp) === wanted) return
  say('bench: installing Piscina and poolifier into bench/peers/node_modules')
  const installed = run('npm', ['ci', '--prefix', POOLS, '--silent', '--no-audit', '--no-fund'])
  if (!installed.ok) throw new Error(`npm could not install the pools: ${installed.lastLine}`)
  writeFileSync(stamp, wanted)
}

function run(command: string, args: readonly string[]): { readonly ok: boolean; readonly lastLine: string } {
  const { status, error, stderr } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
  const lines = (stderr ?? '').split('\n').filter((line) => line.trim() !== '')
  return { ok: status === 0, lastLine: error?.message ?? lines.at(-1) ?? `exit code ${String(status)}` }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
