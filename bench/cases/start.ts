// From nothing to the first result, in a process that does only that; and what the import alone takes.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { BenchCase, Figures } from '../case.ts'
import { runToEnd } from '../run-to-end.ts'

const TIMEOUT_MS = 30_000
/** Whole processes are short and their times scatter: the fastest of a few. */
const PROCESSES = 5

const FIRST_RESULT = fileURLToPath(new URL('./first-result.js', import.meta.url))
const PACKAGE = new URL('../../package.json', import.meta.url)

export const start: BenchCase = {
  id: 'i',
  title: 'start',
  does: 'a fresh process imports the package, starts a cluster of two workers with one thread each, and has the result of its first task; nothing is warm but the file cache',
  peers: ['dask'],
  full: {},
  quick: {},
  figures: [
    { name: 'startMs', title: 'start of the cluster to the first result', unit: 'ms', better: 'less' },
    { name: 'importMs', title: 'import', unit: 'ms', better: 'less' },
    { name: 'importProcessMs', title: 'process that imports, less one that does not', unit: 'ms', better: 'less' },
    { name: 'wholeMs', title: 'start of the process to the first result', unit: 'ms', better: 'less' },
  ],
  targets: [
    { figure: 'startMs', timesBetterThan: 'dask', atLeast: 2 },
    { figure: 'importMs', atMost: 150 },
  ],
  timeoutMs: 120_000,
  run: async ({ scratch }) => {
    const first = await node([FIRST_RESULT, scratch])
    const bare = await fastestProcess([])
    const importing = await fastestProcess(['--import', packageEntry()])
    return { ...(JSON.parse(first) as Figures), importProcessMs: importing - bare }
  },
}

async function node(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runToEnd(process.execPath, args, { timeoutMs: TIMEOUT_MS })
  if (code !== 0) throw new Error(`${args.join(' ')}: ${stderr.trim().split('\n').at(-1) ?? ''}`)
  return stdout
}

async function fastestProcess(flags: readonly string[]): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < PROCESSES; n++) {
    const startedAt = performance.now()
    await node([...flags, '--eval', '0'])
    times.push(performance.now() - startedAt)
  }
  return Math.min(...times)
}

/** The file behind `import 'plimsoll'`. */
function packageEntry(): string {
  const manifest = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { exports: { '.': { default: string } } }
  return new URL(manifest.exports['.'].default, PACKAGE).href
}
