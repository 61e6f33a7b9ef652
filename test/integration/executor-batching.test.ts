// Results of short runs are written together. Whatever the next run does, none of them is lost, late, or blamed.
//
// The clock of the executor stands still, so it never writes what it holds back while more is to do: whoever does not look
// into its outbox does not hear of it. The worker looks at intervals, at the end of an executor, and before it acts on a
// timeout or a cancel; with its intervals off, each of these has to do alone.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Ending, Harness, fromSource } from './executor-harness.ts'

let harness: Harness
afterEach(async () => {
  vi.useRealTimers()
  await harness.close()
})

const stopClock = fromSource('function stopClock() { performance.now = () => 1e6 }')

/** Runs of one function that is known to be short; one of them does something else. Each notes down that it was run. */
const worker = fromSource(`function worker(n, bad, how, log) {
  const fs = globalThis.fsOfTest ??= process.getBuiltinModule('node:fs')
  const logs = globalThis.logsOfTest ??= {}
  fs.writeSync(logs[log] ??= fs.openSync(log, 'a'), n + '\\n')
  if (n !== bad) return n
  if (how === 'loop') for (;;);
  if (how === 'exit') process.exit(3)
  if (how === 'wait') return new Promise((resolve) => setTimeout(() => resolve(n), 400))
  process.kill(process.pid, 'SIGKILL')
}`)
const RUNS = 24
const BAD = 14

interface Outcome {
  readonly endings: Promise<Ending>[]
  readonly known: Map<number, Ending>
  readonly starts: () => readonly number[]
}

async function submitAll(
  how: string,
  { options = {}, looks }: { readonly options?: { readonly timeoutMs?: number }; readonly looks: boolean },
): Promise<Outcome> {
  harness = await Harness.start({ cancelGraceMs: 30 })
  await harness.submit(stopClock)
  // What looks at intervals: the dispatcher's check for runs that wait behind a long one.
  if (!looks) vi.useFakeTimers({ toFake: ['setInterval'] })
  const log = join(harness.directory, 'log')
  for (let n = 1000; n < 1100; n++) await harness.submit(worker, [n, -1, '', `${log}-warm`])
  const known = new Map<number, Ending>()
  const endings = Array.from({ length: RUNS }, (_, n) => harness.submit(worker, [n, BAD, how, log], { options }))
  for (const [n, ending] of endings.entries()) void ending.then((end) => known.set(n, end))
  const starts = (): number[] => readFileSync(log, 'utf8').trim().split('\n').map(Number)
  return { endings, known, starts }
}

const firstOnes = Array.from({ length: BAD }, (_, n) => n)

describe('results that are written together', () => {
  it('arrive while the next run is in an endless loop', async () => {
    const { endings, known } = await submitAll('loop', { looks: true })
    await harness.until(() => firstOnes.every((n) => known.get(n)?.kind === 'finished'))
    expect(known.has(BAD)).toBe(false)
    harness.pool.cancel((harness.lastRun - RUNS + 1 + BAD) as never, true)
    expect(await endings[BAD]).toMatchObject({ kind: 'cancelled' })
  })

  it.each([
    ['is killed', 'kill'],
    ['exits', 'exit'],
  ])('arrive when the next run %s, which alone is blamed, and run once', async (_, how) => {
    const { endings, starts } = await submitAll(how, { looks: false })
    const all = await Promise.all(endings)
    for (const n of firstOnes) expect(all[n]).toMatchObject({ kind: 'finished', value: n })
    expect(all[BAD]).toMatchObject({ kind: 'erred', failure: 'crashed' })
    for (const later of all.slice(BAD + 1)) expect(['finished', 'returned']).toContain(later.kind)
    const count = new Map<number, number>()
    for (const n of starts()) count.set(n, (count.get(n) ?? 0) + 1)
    for (const [n, ending] of all.entries()) expect(count.get(n) ?? 0).toBe(ending.kind === 'returned' ? 0 : 1)
  })

  it('arrive while the next run waits for something', async () => {
    const { endings, known } = await submitAll('wait', { looks: true })
    await harness.until(() => firstOnes.every((n) => known.has(n)))
    expect(known.has(BAD)).toBe(false)
    expect(await endings[BAD]).toMatchObject({ kind: 'finished', value: BAD })
  })

  it('are in time when the next run is ended by its timeout, which is its own', async () => {
    const { endings } = await submitAll('loop', { options: { timeoutMs: 200 }, looks: false })
    const all = await Promise.all(endings)
    for (const n of firstOnes) expect(all[n]).toMatchObject({ kind: 'finished', value: n })
    expect(all[BAD]).toMatchObject({ kind: 'erred', failure: 'timeout' })
  })

  it('are finished when they are cancelled too late, and nobody else is', async () => {
    const { endings, known } = await submitAll('loop', { looks: false })
    const first = harness.lastRun - RUNS + 1
    // The run that never ends is the one in the executor.
    while (!harness.running(`worker-${first + BAD}`)) await new Promise((resolve) => setTimeout(resolve, 1))
    expect(known.size).toBe(0)
    harness.pool.cancel((first + 3) as never, true)
    const all = await Promise.all(endings.slice(0, BAD))
    expect(all.map((ending) => ending.kind)).toEqual(firstOnes.map(() => 'finished'))
    expect(harness.running(`worker-${first + BAD}`)).toBe(true)
  })
})
