// One sample: one program of one system in a fresh process, with a fresh cluster or pool, its figures read from the last line
// of its output. The process leads a group of its own, so that a program that hangs can be ended with all its children.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BenchCase, Figures, SampleRequest, Sizes, System } from './case.ts'
import { DASK_PYTHON } from './prepare.ts'

export type Sample = { readonly figures: Figures } | { readonly failure: string }

const OUTPUT_MAX = 1_000_000
const REASON_MAX = 300

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly timedOut: boolean
}

export async function takeSample(bench: BenchCase, system: System, sizes: Sizes, warmUpMs: number): Promise<Sample> {
  const scratch = mkdtempSync(join(tmpdir(), 'plimsoll-bench-'))
  try {
    const [command, ...args] = commandOf(system)
    const request: SampleRequest = { case: bench.id, system, sizes, warmUpMs, scratch }
    const ended = await runToEnd(command, [...args, JSON.stringify(request)], bench.timeoutMs)
    return read(ended, bench)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function commandOf(system: System): [string, ...string[]] {
  const typescript = (name: string): [string, ...string[]] => [
    process.execPath,
    '--import',
    import.meta.resolve('tsx'),
    fileURLToPath(new URL(name, import.meta.url)),
  ]
  if (system === 'plimsoll') return typescript('./run-case.ts')
  if (system === 'dask' || system === 'dask-unsaturated')
    return [DASK_PYTHON, fileURLToPath(new URL('./peers/dask_cases.py', import.meta.url))]
  return typescript('./peers/pools.ts')
}

/** `env` is added to this process's environment. Never rejects. */
export function runToEnd(
  command: string,
  args: readonly string[],
  timeoutMs: number,
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...env },
    })
    const output = { stdout: '', stderr: '' }
    let timedOut = false
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] = (output[name] + text).slice(-OUTPUT_MAX)
      })
    }
    const timer = setTimeout(() => {
      timedOut = true
      endGroup(child.pid)
    }, timeoutMs)
    const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
      clearTimeout(timer)
      resolve({ code, signal, ...output, timedOut })
    }
    child.once('error', (error) => {
      output.stderr += error.message
      finish(null, null)
    })
    child.once('close', finish)
  })
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has just ended by itself.
  }
}

function read(ended: Ended, bench: BenchCase): Sample {
  if (ended.timedOut) return { failure: `it did not end within ${bench.timeoutMs / 1000} s` }
  if (ended.code !== 0) {
    const how = ended.signal ?? (ended.code === null ? 'it could not be started' : `exit code ${ended.code}`)
    return { failure: `${how}: ${lastLine(ended.stderr)}`.slice(0, REASON_MAX) }
  }
  try {
    const figures = JSON.parse(lastLine(ended.stdout)) as Figures
    const wrong = Object.entries(figures).find(([, value]) => !Number.isFinite(value))
    return wrong === undefined ? { figures } : { failure: `${wrong[0]} is ${String(wrong[1])}` }
  } catch {
    return { failure: `its last line is not JSON: ${lastLine(ended.stdout)}`.slice(0, REASON_MAX) }
  }
}

/** The last line that says something; of a stack trace of Node the one with the message. */
function lastLine(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.find((line) => /^\w*Error\b.*:/.test(line)) ?? lines.at(-1) ?? 'it said nothing'
}
