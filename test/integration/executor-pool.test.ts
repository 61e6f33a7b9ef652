import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, openSync, rmSync, statSync, truncateSync, utimesSync, writeSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { PlimsollError } from '../../dist/errors/plimsoll-error.js'
import { type Ending, Harness, fromSource, groupExists } from './executor-harness.ts'

const MIB = 2 ** 20
const add = fromSource('function add(a, b) { return a + b }')
const spin = fromSource('function spin() { for (;;); }')
const sum = fromSource(
  'function sum(values) { let total = 0; for (const value of values) total += value; return total }',
)

let open: Harness[] = []
async function start(options: ConstructorParameters<typeof Harness>[0] = {}): Promise<Harness> {
  const harness = await Harness.start(options)
  open.push(harness)
  return harness
}
afterEach(async () => {
  await Promise.all(open.map((harness) => harness.close()))
  open = []
  vi.unstubAllEnvs()
})

const value = (ending: Ending): unknown => (ending.kind === 'finished' ? ending.value : ending)

const variants = [
  ['with koffi', false],
  ['without koffi', true],
] as const

describe.each(variants)('executor pool, %s', (_, noKoffi) => {
  const env = noKoffi ? { PLIMSOLL_NO_KOFFI: '1' } : {}
  const startHere = (options: ConstructorParameters<typeof Harness>[0] = {}): Promise<Harness> =>
    start({ ...options, env })

  it('runs a function and returns its value', async () => {
    const harness = await startHere()
    expect(value(await harness.submit(add, [20, 22]))).toBe(42)
    expect(value(await harness.submit(fromSource('async () => new Map([["a", [1, 2]]])')))).toEqual(
      new Map([['a', [1, 2]]]),
    )
    expect(value(await harness.submit(fromSource('() => undefined')))).toBeUndefined()
  })

  it('runs ten thousand tasks, pipelined, each once', async () => {
    const harness = await startHere({ nthreads: 2 })
    const endings = await Promise.all(Array.from({ length: 10_000 }, (__, i) => harness.submit(add, [i, 1])))
    expect(endings.map(value)).toEqual(Array.from({ length: 10_000 }, (__, i) => i + 1))
    expect(harness.pool.depthFor('add')).toBeGreaterThan(1)
  })

  it('reads small and large inputs', async () => {
    const harness = await startHere()
    const small = harness.store('small', new Float64Array(20_000).fill(2))
    const large = harness.store('large', new Float64Array(MIB).fill(3))
    const both = fromSource(`function both({ parts: [small, large] }) {
      const total = (values) => values.reduce((sum, value) => sum + value, 0)
      const own = large.buffer.byteLength === large.byteLength && large.byteOffset === 0
      large[0] = 7
      return [total(small), total(large), own]
    }`)
    const ending = await harness.submit(both, [{ parts: [small.ref, large.ref] }], {
      inputs: [small.input, large.input],
    })
    expect(value(ending)).toEqual([40_000, 3 * MIB + 4, true])
    expect(ending).toMatchObject({ stillMapped: noKoffi ? [] : ['large'] })
    // What the task wrote into its input stayed its own.
    const again = await harness.submit(sum, [large.ref], { inputs: [large.input] })
    expect(value(again)).toBe(3 * MIB)
  })

  it('tells when a mapping is gone, after a collection or a death', async () => {
    const harness = await startHere()
    const { ref, input } = harness.store('large', new Uint8Array(4 * MIB))
    await harness.submit(sum, [ref], { inputs: [input] })
    const expected = noKoffi ? [] : ['large']
    harness.pool.collect()
    await harness.until(() => harness.unmapped.length === expected.length)
    expect(harness.unmapped).toEqual(expected)
    const keep = fromSource('function keep(input) { globalThis.kept = input; return 1 }')
    await harness.submit(keep, [ref], { inputs: [input] })
    process.kill(harness.pids[0] as number, 'SIGKILL')
    await harness.until(() => harness.unmapped.length === 2 * expected.length)
  })

  it('puts a large result where it is told to', async () => {
    const harness = await startHere()
    const requests: number[] = []
    harness.onPlace = ({ nbytes }) => {
      requests.push(nbytes)
      return { place: harness.newPlace(nbytes) }
    }
    const ending = await harness.submit(fromSource('() => new Float64Array(300_000).fill(1.5)'))
    expect(ending).toMatchObject({ kind: 'finished', via: 'place' })
    expect(value(ending)).toEqual(new Float64Array(300_000).fill(1.5))
    expect(requests).toHaveLength(1)
    expect(requests[0]).toBeGreaterThan(2_400_000)
  })

  it.each([
    ['memory', 1],
    ['disk', 0],
  ] as const)(
    'counts a place in the tier %s as RAM as long as its result is written, where it is',
    async (tier, part) => {
      const harness = await startHere()
      const sampled = new Promise<unknown>((resolve) => {
        harness.onPlace = ({ nbytes }) => {
          // It stands still from before it has the place until it was looked at.
          const [pid] = harness.pids as [number]
          process.kill(pid, 'SIGSTOP')
          setImmediate(() => {
            resolve((harness.pool.sample()[0]?.placeBytes ?? NaN) / nbytes)
            process.kill(pid, 'SIGCONT')
          })
          return { place: { ...harness.newPlace(nbytes), tier } }
        }
      })
      expect(value(await harness.submit(fromSource('() => new Float64Array(300_000).fill(1.5)')))).toHaveLength(300_000)
      expect(await sampled).toBe(part)
    },
  )

  it('ends an endless loop on cancel, and returns what waited behind it', async () => {
    const harness = await startHere({ cancelGraceMs: 100 })
    const looping = harness.submit(spin, [], { key: 'loop' })
    await harness.until(() => harness.running('loop'))
    const [pid] = harness.pids
    harness.pool.cancel(harness.lastRun, false)
    expect(await looping).toEqual({ kind: 'cancelled' })
    expect(groupExists(pid as number)).toBe(false)
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
    expect(harness.pids).not.toContain(pid)
  })

  it('blames process.exit on the task that called it', async () => {
    const harness = await startHere()
    const ending = await harness.submit(fromSource('function leave() { console.error("bye"); process.exit(3) }'), [], {
      key: 'leaver',
    })
    expect(ending).toMatchObject({ kind: 'erred', failure: 'crashed' })
    const { error } = ending as { error: PlimsollError }
    expect(error.code).toBe('TASK_CRASHED')
    expect(error.fields).toMatchObject({
      key: 'leaver',
      function: 'leave',
      exitCode: 3,
      signal: null,
      attempt: 1,
      stderrTail: 'bye',
    })
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
  })

  it('has an idle executor that was killed back: one failure in a row, which a task ends', async () => {
    const harness = await startHere()
    for (let kills = 1; kills <= 2; kills++) {
      const [pid] = harness.pids
      process.kill(pid as number, 'SIGKILL')
      await vi.waitFor(() => expect(harness.pids.filter((each) => each !== pid)).toHaveLength(1), 10_000)
      expect(value(await harness.submit(add, [kills, 2]))).toBe(kills + 2)
    }
    // The second one had run a task before it was killed: that is no failure to start.
    expect(harness.troubles.map(({ failures }) => failures)).toEqual([1])
    expect(harness.troubles[0]?.reason).toMatch(/ended before it got a task \(SIGKILL\)/)
  })

  it('fails a task by its timeout, and that one only', async () => {
    const harness = await startHere()
    const ending = await harness.submit(spin, [], { key: 'slow', options: { timeoutMs: 150 } })
    expect(ending).toMatchObject({
      kind: 'erred',
      failure: 'timeout',
      error: { code: 'TASK_TIMEOUT', fields: { key: 'slow', limitMs: 150 } },
    })
    expect(value(await harness.submit(add, [1, 2], { options: { timeoutMs: 10_000 } }))).toBe(3)
    // Longer than a timer can be.
    const nap = fromSource('function nap() { return new Promise((resolve) => setTimeout(resolve, 50, 1)) }')
    expect(value(await harness.submit(nap, [], { options: { timeoutMs: 60 * 86_400_000 } }))).toBe(1)
  })
})

describe('executor pool, failures', () => {
  it('passes on what a task throws, with class, code and own properties', async () => {
    const harness = await start()
    const thrower = fromSource('function thrower() { throw Object.assign(new RangeError("too far"), { limit: 7 }) }')
    const ending = await harness.submit(thrower)
    expect(ending).toMatchObject({
      kind: 'erred',
      failure: 'user',
      error: { name: 'RangeError', message: 'too far', limit: 7 },
    })
    const rejected = await harness.submit(fromSource('async () => { await null; throw "text" }'))
    expect(rejected).toMatchObject({ kind: 'erred', failure: 'user', error: { message: 'text' } })
  })

  it('names what cannot be serialised', async () => {
    const harness = await start()
    const ending = await harness.submit(fromSource('() => ({ rows: [1, { onClick() {} }] })'))
    expect(ending).toMatchObject({
      kind: 'erred',
      failure: 'user',
      error: { code: 'NOT_SERIALIZABLE', fields: { path: 'result.rows[1].onClick' } },
    })
  })

  it('blames a segmentation fault on the running task and returns the queued ones', async () => {
    const harness = await start()
    const warm = fromSource('function crashAt(n) { if (n === 5) process.kill(process.pid, "SIGSEGV"); return n }')
    // Until an executor is handed all of them at once, which depends on how long they took.
    for (let i = 100; i < 140 || (harness.pool.depthFor('crashAt') < 12 && i < 5000); i++)
      await harness.submit(warm, [i])
    const endings = await Promise.all(Array.from({ length: 12 }, (_, i) => harness.submit(warm, [i])))
    expect(endings[5]).toMatchObject({ kind: 'erred', failure: 'crashed', error: { fields: { signal: 'SIGSEGV' } } })
    const kinds = endings.map((ending) => ending.kind)
    expect(kinds.slice(0, 5)).toEqual(Array(5).fill('finished'))
    expect(kinds.slice(6)).not.toContain('erred')
    expect(kinds.slice(6)).toContain('returned')
  })

  it('blames an unhandled rejection on the task that left it, even when the task itself returned', async () => {
    const harness = await start()
    const floating = fromSource('function floating() { Promise.reject(new Error("left alone")); return 1 }')
    const ending = await harness.submit(floating, [], { key: 'floating' })
    expect(ending).toMatchObject({
      kind: 'erred',
      failure: 'crashed',
      error: { code: 'TASK_CRASHED', fields: { key: 'floating' } },
    })
    expect((ending as { error: Error }).error.message).toContain('left alone')
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
  })

  it('blames an exception in a callback on the task that waits for it', async () => {
    const harness = await start()
    const callback = fromSource('() => new Promise(() => setTimeout(() => { throw new Error("from a timer") }, 10))')
    const ending = await harness.submit(callback)
    expect(ending).toMatchObject({ kind: 'erred', failure: 'crashed' })
    expect((ending as { error: Error }).error.message).toContain('from a timer')
  })

  it('says out of memory when the heap is full, and blames nobody else', async () => {
    const harness = await start({ memoryLimit: 128 * MIB })
    const hog = fromSource(
      'function hog() { const rows = []; for (;;) rows.push({ id: rows.length, text: String(rows.length) }) }',
    )
    const ending = await harness.submit(hog, [], { key: 'hog' })
    expect(ending).toMatchObject({
      kind: 'erred',
      failure: 'out-of-memory',
      error: { code: 'TASK_OUT_OF_MEMORY', fields: { key: 'hog', limit: 128 * MIB } },
    })
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
  })

  it('gives no task more buffers than the limit of the worker', async () => {
    const harness = await start({ memoryLimit: 256 * MIB })
    const greedy = fromSource(
      'function greedy() { const all = []; for (let i = 0; i < 64; i++) all.push(new Uint8Array(16 * 2 ** 20).fill(1)); return all.length }',
    )
    const ending = await harness.submit(greedy)
    expect(ending).toMatchObject({ kind: 'erred', failure: 'out-of-memory', error: { code: 'TASK_OUT_OF_MEMORY' } })
    const uncapped = await start({ memoryLimit: 256 * MIB, executorCap: false })
    expect(value(await uncapped.submit(greedy))).toBe(64)
  })

  it('gives a task with its own memory need the heap for it', async () => {
    const harness = await start({ nthreads: 2, memoryLimit: 512 * MIB })
    const heap = fromSource(
      'async function heap() { return (await import("node:v8")).getHeapStatistics().heap_size_limit }',
    )
    expect(value(await harness.submit(heap))).toBeLessThan(300 * MIB)
    expect(value(await harness.submit(heap, [], { options: { memory: 480 * MIB } }))).toBeGreaterThan(450 * MIB)
  })

  it('maps inputs beyond the limit, and caps what the task takes besides', async () => {
    const harness = await start({ memoryLimit: 96 * MIB })
    const { ref, input } = harness.store('input', new Float64Array(40 * MIB).fill(1))
    const first = fromSource(
      'function first(values, own) { return [values.length, new Uint8Array(own).fill(1).length] }',
    )
    expect(value(await harness.submit(first, [ref, 8 * MIB], { inputs: [input] }))).toEqual([40 * MIB, 8 * MIB])
    expect(await harness.submit(first, [ref, 400 * MIB], { inputs: [input] })).toMatchObject({
      failure: 'out-of-memory',
    })
  })

  it('collects the garbage of a task before the next one', async () => {
    const harness = await start({ memoryLimit: 512 * MIB })
    await harness.submit(add, [1, 2])
    const waste = fromSource(`function waste() {
      for (let i = 0; i < 6; i++) new Uint8Array(32 * 2 ** 20).fill(1)
      return Array.from({ length: 400_000 }, (_, i) => ({ i })).length
    }`)
    expect(value(await harness.submit(waste))).toBe(400_000)
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
    const [sample] = harness.pool.sample()
    expect((sample?.privateBytes ?? Infinity) - (sample?.baselineBytes ?? 0)).toBeLessThan(100 * MIB)
  })

  it('replaces an executor in which a task left something running', async () => {
    const harness = await start()
    const [before] = harness.pids
    const leaver = fromSource('function leaver() { setInterval(() => {}, 1000); return 1 }')
    expect(value(await harness.submit(leaver))).toBe(1)
    await harness.until(() => harness.pids[0] !== undefined && harness.pids[0] !== before)
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
    const polite = fromSource(
      'async function polite() { await new Promise((resolve) => setTimeout(resolve, 5)); return process.pid }',
    )
    expect(value(await harness.submit(polite))).toBe(value(await harness.submit(polite)))
  })

  it.runIf(existsSync('/usr/bin/prlimit')).each([
    ['an executor', {}],
    ['an io executor', { io: true }],
  ])('replaces %s whose descriptors a task has used up: no input is taken for lost', async (_what, options) => {
    const harness = await start()
    const { ref, input } = harness.store(
      'x',
      Array.from({ length: 100 }, (__, i) => i),
    )
    const pid = value(await harness.submit(fromSource('() => process.pid'), [], { options })) as number
    execFileSync('/usr/bin/prlimit', ['--pid', String(pid), '--nofile=128'])
    const leak = fromSource(`async function leak() {
      const { openSync } = await import('node:fs')
      try { for (;;) openSync('/dev/null') } catch (error) { return error.code }
    }`)
    expect(value(await harness.submit(leak, [], { options }))).toBe('EMFILE')
    const ending = await harness.submit(sum, [ref], { inputs: [input], options })
    expect(ending).toMatchObject({ kind: 'returned', reason: expect.stringContaining('EMFILE') as string })
    await harness.until(() => !exists(pid))
    expect(value(await harness.submit(sum, [ref], { inputs: [input], options }))).toBe(4950)
  })

  it.runIf(process.platform === 'linux')('goes on when the file of the status page was cleared away', async () => {
    const harness = await start({ nthreads: 2 })
    rmSync(`${harness.directory}/status`)
    const before = [...harness.pids]
    for (const pid of before) process.kill(pid, 'SIGKILL')
    await harness.until(() => harness.pids.length === 2 && !harness.pids.some((pid) => before.includes(pid)))
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
    const crashed = await harness.submit(fromSource('function exits() { process.exit(1) }'), [], { key: 'exits' })
    // Whoever is to blame is told by the page.
    expect(crashed).toMatchObject({ failure: 'crashed' })
  })

  it('ends a child process together with its task', async () => {
    const harness = await start()
    const parent = fromSource(`async function parent() {
      const { spawn } = await import('node:child_process')
      console.log(spawn('sleep', ['60'], { stdio: 'ignore' }).pid)
      for (;;);
    }`)
    const running = harness.submit(parent, [], { options: { timeoutMs: 1000 } })
    expect(await running).toMatchObject({ failure: 'timeout' })
    await harness.until(() => harness.log.length > 0)
    const child = Number(harness.log[0]?.text)
    await harness.until(() => !exists(child))
  })

  it('replaces an idle executor that holds much even after a collection, and no other', async () => {
    const harness = await start({ memoryLimit: 512 * MIB, executorRecycle: 0.1 })
    const recycled = (): number => {
      harness.pool.sample()
      return harness.pool.recycleHoarders()
    }
    const [before] = harness.pids
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
    const waste = fromSource('function waste() { return new Uint8Array(100 * 2 ** 20).fill(1).length }')
    expect(value(await harness.submit(waste))).toBe(100 * MIB)
    expect([recycled(), recycled()]).toEqual([0, 0])
    const hoard = fromSource('function hoard() { globalThis.kept = Buffer.alloc(100 * 2 ** 20, 1); return 1 }')
    expect(value(await harness.submit(hoard))).toBe(1)
    await harness.until(() => recycled() > 0)
    await harness.until(() => harness.pids[0] !== undefined && harness.pids[0] !== before)
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
    const [sample] = harness.pool.sample()
    expect(sample?.privateBytes).toBeLessThan(100 * MIB)
  })

  it('kills for memory when it is told to', async () => {
    const harness = await start()
    const running = harness.submit(spin, [], { key: 'victim' })
    await harness.until(() => harness.running('victim'))
    const [sample] = harness.pool.sample()
    expect(sample?.privateBytes).toBeGreaterThan(MIB)
    expect(harness.pool.killForMemory(sample?.pid as number, 'Ask for less.')).toBe(true)
    expect(await running).toMatchObject({
      failure: 'out-of-memory',
      error: { message: expect.stringContaining('Ask for less.') },
    })
  })

  it('fails to start with the reason when executors cannot run', async () => {
    const harness = new Harness({ env: { NODE_OPTIONS: '--no-such-flag' } })
    open.push(harness)
    await expect(harness.pool.start()).rejects.toThrow(
      expect.objectContaining({ code: 'WORKER_START_FAILED', message: expect.stringContaining('--no-such-flag') }),
    )
  })
})

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('executor pool, inputs', () => {
  const corruptions: readonly [string, (path: string) => void][] = [
    ['is gone', (path) => rmSync(path)],
    ['was cut', (path) => truncateSync(path, statSync(path).size - 1)],
    ['has another header', (path) => overwrite(path, 3)],
    ['has other contents and time', (path) => overwrite(path, statSync(path).size - 5)],
  ]
  it.each(corruptions)('reports a file that %s as a bad input', async (_, corrupt) => {
    const harness = await start()
    for (const length of [3 * MIB, 200_000, 5000]) {
      const { ref, input } = harness.store('input', new Uint8Array(length))
      if (input.source.via !== 'file') throw new Error('not a file')
      corrupt(input.source.path)
      expect(await harness.submit(sum, [ref], { inputs: [input] })).toMatchObject({ kind: 'input-bad', key: 'input' })
    }
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
  })

  it('accepts a file whose time changed when its checksums hold', async () => {
    const harness = await start()
    const { ref, input } = harness.store('input', new Uint8Array(3 * MIB).fill(1))
    if (input.source.via === 'file') utimesSync(input.source.path, 1, 1)
    expect(value(await harness.submit(sum, [ref], { inputs: [input] }))).toBe(3 * MIB)
  })

  it('reports a file that holds another key', async () => {
    const harness = await start()
    const { ref } = harness.store('wanted', 1)
    const other = harness.store('other', new Uint8Array(3 * MIB))
    const input = { ...other.input, key: 'wanted' as never }
    expect(await harness.submit(sum, [ref], { inputs: [input] })).toMatchObject({ kind: 'input-bad', key: 'wanted' })
  })

  it('reads an input once per attempt, however often it is named', async () => {
    const harness = await start()
    const { ref, input } = harness.store('input', new Uint8Array(3 * MIB))
    const same = fromSource('(a, b) => a === b.again')
    expect(value(await harness.submit(same, [ref, { again: ref }], { inputs: [input] }))).toBe(true)
  })
})

function overwrite(path: string, position: number): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.from([0xee]), 0, 1, position)
  closeSync(fd)
  // Written within one tick of the file system's clock, the time might be the same as before.
  utimesSync(path, 1, 1)
}

describe('executor pool, places', () => {
  const large = fromSource('function large() { return new Uint8Array(200_000) }')

  it('starts nothing while a result waits for its place', async () => {
    const harness = await start()
    let answer: ((place: ReturnType<Harness['newPlace']>) => void) | null = null
    const original = harness.onPlace
    harness.onPlace = () => null
    const waiting = harness.submit(large, [], { key: 'waits' })
    const phases = () => harness.pool.statusPage?.read(0)
    await harness.until(() => phases()?.phase === 'placing' || harness.pool.statusPage?.read(1).phase === 'placing')
    const behind = harness.submit(add, [1, 2])
    harness.pool.cancel(1 as never, false)
    expect(await waiting).toEqual({ kind: 'cancelled' })
    expect(value(await behind)).toBe(3)
    harness.onPlace = original
    expect(answer).toBeNull()
    expect(await harness.submit(large)).toMatchObject({ kind: 'finished' })
  })

  it('asks again when a place cannot be written', async () => {
    const harness = await start()
    const seen: (string | undefined)[] = []
    harness.onPlace = ({ nbytes, failed }) => {
      seen.push(failed?.code)
      const place = harness.newPlace(nbytes)
      return { place: failed === undefined ? { ...place, path: `${harness.directory}/absent/x` } : place }
    }
    expect(await harness.submit(large)).toMatchObject({ kind: 'finished', via: 'place' })
    expect(seen).toEqual([undefined, 'ENOENT'])
  })

  it('gives up when no place can be written', async () => {
    const harness = await start()
    harness.onPlace = ({ nbytes }) => ({
      place: { ...harness.newPlace(nbytes), path: `${harness.directory}/absent/x` },
    })
    const ending = await harness.submit(large)
    expect(ending).toMatchObject({
      kind: 'erred',
      failure: 'store-full',
      error: { code: 'STORE_FULL', fields: { code: 'ENOENT' } },
    })
    expect(harness.unused).toHaveLength(1)
  })

  it('fails the task when there is no place', async () => {
    const harness = await start()
    harness.onPlace = () => ({ error: new PlimsollError('STORE_FULL', 'no room anywhere') })
    expect(await harness.submit(large)).toMatchObject({
      kind: 'erred',
      failure: 'store-full',
      error: { code: 'STORE_FULL' },
    })
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
  })
})

describe('executor pool, queues', () => {
  it('takes runs back from behind one that turns out slow', async () => {
    const harness = await start({ nthreads: 2 })
    const mixed = fromSource('function mixed(n) { if (n === 0) for (;;); return n }')
    for (let i = 1; i < 60; i++) await harness.submit(mixed, [i])
    const looping = harness.submit(mixed, [0], { key: 'loop' })
    const others = await Promise.all(Array.from({ length: 40 }, (_, i) => harness.submit(mixed, [i + 1])))
    expect(others.map(value)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1))
    harness.pool.cancel(60 as never, true)
    expect(await looping).toEqual({ kind: 'cancelled' })
  })

  it('drops a run that is cancelled before it starts', async () => {
    const harness = await start()
    const looping = harness.submit(spin, [], { key: 'loop' })
    await harness.until(() => harness.running('loop'))
    const queued = harness.submit(fromSource('() => console.log("ran")'))
    harness.pool.cancel(harness.lastRun, false)
    expect(await queued).toEqual({ kind: 'cancelled' })
    harness.pool.cancel(1 as never, true)
    expect(await looping).toEqual({ kind: 'cancelled' })
    expect(value(await harness.submit(add, [1, 2]))).toBe(3)
    expect(harness.log).toEqual([])
  })

  it('tells a task by its signal, and by a flag inside of a loop', async () => {
    const harness = await start({ cancelGraceMs: 20_000 })
    const context = 'globalThis[Symbol.for("plimsoll.taskContext")]()'
    const patient = fromSource(
      `() => new Promise((resolve) => ${context}.signal.addEventListener('abort', () => resolve(1)))`,
    )
    const running = harness.submit(patient, [], { key: 'patient' })
    await harness.until(() => harness.running('patient'))
    harness.pool.cancel(harness.lastRun, false)
    expect(await running).toEqual({ kind: 'cancelled' })
    const asking = fromSource(`() => { const context = ${context}; while (!context.cancelled); return 1 }`)
    const loop = harness.submit(asking, [], { key: 'asking' })
    await harness.until(() => harness.running('asking'))
    harness.pool.cancel(harness.lastRun, false)
    expect(await loop).toEqual({ kind: 'cancelled' })
    const described = await harness.submit(
      fromSource(
        `() => { const { key, attempt, workerAddress, memory } = ${context}; return { key, attempt, workerAddress, memory } }`,
      ),
      [],
      { key: 'who' },
    )
    expect(value(described)).toEqual({ key: 'who', attempt: 1, workerAddress: 'tcp://127.0.0.1:1', memory: 0 })
  })
})

describe('executor pool, output', () => {
  it('tags lines with the task that printed them', async () => {
    const harness = await start({ nthreads: 2 })
    const print = fromSource('function print(n) { console.log(`out ${n}\\nand ${n}`); console.error(`err ${n}`) }')
    await Promise.all(Array.from({ length: 20 }, (_, i) => harness.submit(print, [i], { key: `print-${i}` })))
    await harness.until(() => harness.log.length === 60)
    for (let i = 0; i < 20; i++) {
      const lines = harness.log.filter((line) => line.key === `print-${i}`)
      expect(lines.filter((line) => line.stream === 'stdout').map((line) => line.text)).toEqual([
        `out ${i}`,
        `and ${i}`,
      ])
      expect(lines.filter((line) => line.stream === 'stderr').map((line) => line.text)).toEqual([`err ${i}`])
    }
  })

  it('drains a flood and says how much it dropped', async () => {
    const harness = await start()
    const flood = fromSource(
      'function flood() { const line = "x".repeat(1000); for (let i = 0; i < 20000; i++) console.log(line); return 1 }',
    )
    expect(value(await harness.submit(flood))).toBe(1)
    process.kill(harness.pids[0] as number, 'SIGKILL')
    await harness.until(() => harness.log.some((line) => line.text.includes('lines were dropped')))
    expect(harness.log.length).toBeLessThan(10_000)
  })
})

describe('executor pool, io tasks', () => {
  it('runs many in one process, each with its own context', async () => {
    const harness = await start()
    const io = fromSource(`async function io() {
      const context = globalThis[Symbol.for('plimsoll.taskContext')]
      await new Promise((resolve) => setTimeout(resolve, 100))
      return [context().key, process.pid]
    }`)
    const begun = performance.now()
    const endings = await Promise.all(
      Array.from({ length: 30 }, (_, i) => harness.submit(io, [], { key: `io-${i}`, options: { io: true } })),
    )
    expect(performance.now() - begun).toBeLessThan(3000)
    const values = endings.map(value) as [string, number][]
    expect(values.map(([key]) => key)).toEqual(Array.from({ length: 30 }, (_, i) => `io-${i}`))
    expect(new Set(values.map(([, pid]) => pid)).size).toBe(1)
    expect(harness.pids).toHaveLength(2)
  })

  it('abandons one that ignores its signal, and lets the others finish', async () => {
    const harness = await start({ cancelGraceMs: 200 })
    const io = fromSource(
      'async function io(ms) { await new Promise((resolve) => setTimeout(resolve, ms)); return ms }',
    )
    const stuck = harness.submit(io, [60_000], { options: { io: true, timeoutMs: 100 } })
    const other = harness.submit(io, [1000], { options: { io: true } })
    expect(await stuck).toMatchObject({ kind: 'erred', failure: 'timeout' })
    expect(value(await other)).toBe(1000)
    expect(value(await harness.submit(io, [1], { options: { io: true } }))).toBe(1)
    await harness.until(() => harness.pids.length === 2)
  })

  it('finds the one that kills its company', async () => {
    const harness = await start()
    const io = fromSource(
      'async function io(n) { await new Promise((resolve) => setTimeout(resolve, 20)); if (n === 3) process.exit(9); return n }',
    )
    const run = async (n: number): Promise<Ending> => {
      for (let attempt = 0; attempt < 10; attempt++) {
        const ending = await harness.submit(io, [n], { key: `io-${n}`, options: { io: true } })
        if (ending.kind !== 'returned') return ending
      }
      throw new Error('returned too often')
    }
    const endings = await Promise.all(Array.from({ length: 8 }, (_, n) => run(n)))
    expect(endings[3]).toMatchObject({
      kind: 'erred',
      failure: 'crashed',
      error: { fields: { key: 'io-3', exitCode: 9 } },
    })
    expect(endings.filter((ending) => ending.kind === 'finished')).toHaveLength(7)
  })
})
