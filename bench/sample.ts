// One sample: one program of one system in a fresh process, with a fresh cluster or pool, its figures read from the last line
// of its output.

import { fileURLToPath } from 'node:url'
import type { BenchCase, Figures, SampleRequest, Sizes, System } from './case.ts'
import { DASK_PYTHON } from './prepare.ts'
import { type Ended, runToEnd } from './run-to-end.ts'
import { withScratch } from './scratch.ts'

export type Sample = { readonly figures: Figures } | { readonly failure: string }

const REASON_MAX = 300

export async function takeSample(bench: BenchCase, system: System, sizes: Sizes, warmUpMs: number): Promise<Sample> {
  return await withScratch(async (scratch) => {
    const [command, ...args] = commandOf(system)
    const request: SampleRequest = { case: bench.id, system, sizes, warmUpMs, scratch }
    const { timeoutMs } = bench
    const ended = await runToEnd(command, [...args, JSON.stringify(request)], { timeoutMs, ownGroup: true })
    return read(ended, bench)
  })
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
