// Everything at once, by a seed: runs that finish, fail, crash, loop and leave things behind, while others cancel them, kill
// their executors and ask for collections. Whatever happens, each run ends once, each place is used or given back, and each
// mapping that was announced ends.

import { afterEach, describe, expect, it } from 'vitest'
import { Prng } from '../../dist/base/prng.js'
import { type Ending, Harness, fromSource } from './executor-harness.ts'

const MIB = 2 ** 20
const RUNS = 250
const AT_A_TIME = 12

const behaviours: Readonly<Record<string, string>> = {
  quick: 'function quick(n) { return n }',
  nap: 'async function nap(n) { await new Promise((resolve) => setTimeout(resolve, n % 20)); return n }',
  large: 'function large(n) { return new Uint8Array(100_000 + n) }',
  reads: 'function reads(n, values) { return values[n] }',
  prints: 'function prints(n) { console.log("n", n); return n }',
  throws: 'function throws(n) { throw new Error(`no ${n}`) }',
  exits: 'function exits(n) { process.exit(n % 5) }',
  floats: 'function floats(n) { Promise.reject(new Error(`left ${n}`)); return n }',
  leaves: 'function leaves(n) { setInterval(() => {}, 1000); return n }',
  loops: 'function loops() { for (;;); }',
}
const kinds = Object.keys(behaviours)
const often = [...kinds.slice(0, 5), ...kinds.slice(0, 5), ...kinds.slice(0, 5), ...kinds]

let harness: Harness | null = null
afterEach(() => harness?.close())

/** What may become of a run of this kind when nobody interferes with it. */
function expected(kind: string, ending: Ending): boolean {
  if (ending.kind === 'returned' || ending.kind === 'cancelled') return true
  if (kind === 'throws') return ending.kind === 'erred' && ending.failure === 'user'
  if (kind === 'exits' || kind === 'floats') return ending.kind === 'erred' && ending.failure === 'crashed'
  if (kind === 'loops') return ending.kind === 'erred' && (ending.failure === 'timeout' || ending.failure === 'crashed')
  // A kill from outside is blamed on whoever was running.
  return ending.kind === 'finished' || (ending.kind === 'erred' && ending.failure === 'crashed')
}

describe('executor pool, chaos', () => {
  it.each([1, 2])(
    'ends every run once, seed %i',
    async (seed) => {
      harness = await Harness.start({ nthreads: 3, cancelGraceMs: 30, memoryLimit: 1024 * MIB })
      const here = harness
      const prng = new Prng(seed)
      const input = here.store('input', new Uint8Array(3 * MIB).fill(1))
      const functions = new Map(kinds.map((kind) => [kind, fromSource(behaviours[kind] as string)]))
      const granted = new Set<number>()
      here.placeDelayMs = 3
      here.onPlace = ({ nbytes }) => {
        const place = here.newPlace(nbytes)
        granted.add(place.id)
        return { place }
      }
      const endings: [string, Ending][] = []
      let running = 0
      for (let n = 1; n <= RUNS; n++) {
        const kind = prng.pick(often) as string
        const reads = kind === 'reads'
        running++
        const submission = {
          key: `${kind}-${n}`,
          options: kind === 'loops' ? { timeoutMs: 100 } : {},
          inputs: reads ? [input.input] : [],
        }
        void here.submit(functions.get(kind) as never, reads ? [n, input.ref] : [n], submission).then((ending) => {
          running--
          endings.push([kind, ending])
        })
        if (prng.int(6) === 0) here.pool.cancel((n - prng.int(8)) as never, prng.int(2) === 0)
        if (prng.int(40) === 0) kill(prng.pick(here.pids))
        if (prng.int(20) === 0) here.pool.collect()
        await here.until(() => running < AT_A_TIME, 15_000)
      }
      await here.until(() => running === 0, 15_000)
      expect(endings).toHaveLength(RUNS)
      expect(endings.filter(([kind, ending]) => !expected(kind, ending))).toEqual([])
      const used = endings.filter(([, ending]) => ending.kind === 'finished' && ending.via === 'place').length
      await here.until(() => used + here.unused.length === granted.size)
      here.pool.collect()
      await here.until(() => here.unmapped.length === here.announced, 10_000)
      expect(here.announced).toBeGreaterThan(0)
    },
    60_000,
  )
})

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
  } catch {
    // Gone already.
  }
}
