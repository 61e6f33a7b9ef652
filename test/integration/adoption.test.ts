// Adoption: a hundred worker processes are killed (SIGKILL) at random moments, in the middle of writes, of spilling and of
// transfers, and now and then a file of theirs is damaged before the nanny has started them again.
//
// What has to hold, whatever the moment: a value that was in a file is never computed again; a damaged one always is, and
// nobody reads it; scattered values are there, of whatever size; everybody sees one value of a task whose result is random;
// what was released meanwhile leaves nothing behind; the directories of living workers stay, and at the end all are gone.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { Prng } from '../../dist/base/prng.js'
import { type Future, task } from '../../dist/index.js'
import { descendantsOf, isAlive } from '../e2e/installed.ts'
import { FaultCluster, linesOf, until } from './fault-cluster.ts'

const KILLS = Number(process.env['PLIMSOLL_ADOPTION_KILLS'] ?? 100)
const SEED = Number(process.env['PLIMSOLL_ADOPTION_SEED'] ?? 1)
const WORKERS = 3
const KIB = 1024
/** Everything above is a file. */
const INLINE_LIMIT = 16 * KIB
const HELD_MAX = 24
const SIZES = [20 * KIB, 200 * KIB, 1024 * KIB, 3072 * KIB]

const config = {
  'logging.level': 'fatal',
  'worker.memory.inline-limit': INLINE_LIMIT,
  // A few MiB: the rest is being spilled all the time.
  'worker.memory.target': 0.02,
  'nanny.restart-limit': 1000,
  // Deaths are forgotten at once: no growing pause before the next start.
  'nanny.restart-window': '1ms',
  'scheduler.allowed-failures': 1000,
  // A machine under load must not turn a restart into a loss.
  'scheduler.worker-grace': '60s',
}

/** Notes each run in a file: the books do not know of one that was killed. */
async function make(file: string, id: string, n: number, isRandom: boolean): Promise<Float64Array> {
  const { appendFileSync: append } = await import('node:fs')
  append(file, `${id}\n`)
  return new Float64Array(n).fill(isRandom ? Math.random() : Number(id.slice(1)))
}

const look = (values: Float64Array): [first: number, last: number, length: number] => [
  values[0] as number,
  values.at(-1) as number,
  values.length,
]

interface Held {
  readonly id: string
  readonly n: number
  readonly isRandom: boolean
  readonly future: Future<Float64Array>
  /** What those who read it saw first. */
  seen: number | null
  /** How often it had run when it was first seen finished in a file; null: not yet. */
  runs: number | null
  /** A copy of it was damaged: when that shows is chance, and from then on it is another run's value. */
  isDamaged: boolean
}

interface Wrong {
  readonly held: Held
  readonly what: string
}

class Story {
  readonly faults: FaultCluster
  readonly random = new Prng(SEED)
  readonly file: string
  held: Held[] = []
  kills = 0
  damaged = 0
  #made = 0

  constructor(faults: FaultCluster) {
    this.faults = faults
    this.file = join(faults.folder, 'runs')
  }

  submit(count: number): void {
    const { client } = this.faults
    for (let n = 0; n < count; n++) {
      const id = `v${++this.#made}`
      const bytes = this.random.int(3) === 0 ? 100 + this.random.int(4000) : (this.random.pick(SIZES) as number)
      const entry = { id, n: Math.ceil(bytes / 8), isRandom: this.random.int(3) === 0 }
      const future = client.submit(task(make, { name: 'make', key: id }), this.file, id, entry.n, entry.isRandom)
      this.held.push({ ...entry, future, seen: null, runs: null, isDamaged: false })
    }
  }

  /** What is finished and in a file now must not run again. */
  noteFinished(): void {
    const lines = linesOf(this.file)
    for (const held of this.held) {
      if (held.runs === null && this.#isSafe(held) && held.future.status === 'finished')
        held.runs = lines.filter((line) => line === held.id).length
    }
  }

  /** Never to be computed again. */
  #isSafe({ n, isDamaged }: Held): boolean {
    return 8 * n > INLINE_LIMIT && !isDamaged
  }

  /** Kills so many workers, and damages a file of one of them while it is dead. */
  kill(count: number): void {
    const alive = this.faults.cluster.workers.filter(({ pid }) => pid !== null)
    for (let n = 0; n < count && alive.length > 0; n++) {
      const [victim] = alive.splice(this.random.int(alive.length), 1)
      try {
        process.kill(victim?.pid as number, 'SIGKILL')
      } catch {
        // It has died since its nanny spoke of it.
        continue
      }
      this.kills++
      if (this.random.int(4) === 0) this.#damageOne(victim?.id as string)
    }
  }

  #damageOne(workerId: string): void {
    const paths = this.faults.valueFiles().filter((path) => path.includes(`/${workerId}/`))
    const path = paths[this.random.int(paths.length)]
    const held = this.held.find(({ future }) => path !== undefined && this.faults.filesOf(future).includes(path))
    if (path === undefined || held === undefined) return
    held.isDamaged = true
    held.runs = null
    try {
      chmodSync(path, 0o600)
      if (this.random.int(2) === 0) truncateSync(path, 100 + this.random.int(8 * held.n))
      else {
        const bytes = readFileSync(path)
        const at = this.random.int(bytes.length)
        bytes[at] = (bytes[at] as number) ^ 0x40
        writeFileSync(path, bytes)
      }
      this.damaged++
    } catch {
      // It was a copy that is gone.
    }
  }

  /** Every value that is held is read by tasks, and some of them by the client. */
  async check(): Promise<void> {
    const { client } = this.faults
    const looks = this.held.map(({ future }) => client.submit(look, future))
    const seen = await client.gather(looks, { timeout: 60_000 })
    client.release(looks)
    const some = this.held.filter(() => this.random.int(4) === 0)
    const values = await client.gather(
      some.map(({ future }) => future),
      { timeout: 60_000 },
    )
    const wrong = [
      ...this.held.map((held, index) => this.#see(held, seen[index] as ReturnType<typeof look>)),
      ...some.map((held, index) => this.#see(held, look(values[index] as Float64Array))),
      ...this.#countRuns(),
    ].filter((found) => found !== null)
    const stories = await Promise.all(wrong.map(({ held }) => client.story(held.future)))
    const told = wrong.map(({ what }, index) =>
      [what, ...(stories[index] ?? []).map((entry) => JSON.stringify(entry))].join('\n'),
    )
    expect(told.join('\n'), `seed ${SEED}, after ${this.kills} kills`).toBe('')
  }

  #see(held: Held, [first, last, length]: ReturnType<typeof look>): Wrong | null {
    const expected = held.isRandom ? (this.#isSafe(held) ? held.seen : null) : Number(held.id.slice(1))
    held.seen = first
    if (length === held.n && last === first && (expected === null || first === expected)) return null
    return { held, what: `${held.id} is [${first}, ... ${last}] of ${length}, it was ${expected} of ${held.n}` }
  }

  #countRuns(): Wrong[] {
    const counts = new Map<string, number>()
    for (const line of linesOf(this.file)) counts.set(line, (counts.get(line) ?? 0) + 1)
    return this.held
      .filter(({ id, runs }) => runs !== null && counts.get(id) !== runs)
      .map((held) => ({
        held,
        what: `${held.id} ran ${counts.get(held.id)} times, it was finished after ${held.runs}`,
      }))
  }

  /** Gives up some of what is held. */
  release(down: number): void {
    while (this.held.length > down) {
      const [held] = this.held.splice(this.random.int(this.held.length), 1)
      held?.future.release()
    }
  }
}

/** Random moments are the point of these tests. */
const sleep = async (ms: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, ms))

describe('kill -9 of workers, again and again', () => {
  it(
    'costs nothing that was in a file',
    async () => {
      await using faults = await FaultCluster.start({ nWorkers: WORKERS, memoryLimit: '192 MiB', config })
      const { client } = faults
      const scattered = client.scatterAll([1, 100, 5000, 400_000].map((n) => new Float64Array(n).fill(n)))
      await client.gather(scattered)
      const story = new Story(faults)
      const { random } = story
      while (story.kills < KILLS) {
        story.submit(4 + random.int(8))
        await sleep(random.int(3) === 0 ? 0 : random.int(120))
        story.noteFinished()
        const victims = Math.min(1 + random.int(WORKERS), KILLS - story.kills)
        story.kill(victims)
        if (random.int(2) === 0) {
          // Some hear of a release while they are dead, or while they come back.
          await sleep(random.int(150))
          story.release(HELD_MAX / 2)
        }
        await story.check()
        story.noteFinished()
        story.release(HELD_MAX)
        const sums = await client.gather(scattered)
        expect(sums.map(look)).toEqual([1, 100, 5000, 400_000].map((n) => [n, n, n]))
      }
      await until(
        'all workers are back',
        () => faults.workers(),
        (workers) => workers.length === WORKERS,
      )
      await faults.checkMeasures()
      // Directories of workers that live are never purged: each has both of its own.
      for (const base of [faults.localDirectory, faults.memoryDirectory])
        expect(
          readdirSync(join(base, readdirSync(base)[0] as string)).filter((name) => !name.includes('.')),
        ).toHaveLength(WORKERS)
      expect(story.damaged).toBeGreaterThan(KILLS / 20)
      story.release(0)
      client.release(scattered)
      await faults.emptied()
    },
    60_000 + KILLS * 3000,
  )
})

describe('kill -9 of a client in the middle of a scatter', () => {
  it('leaves no value, no part of one and no task', async () => {
    await using faults = await FaultCluster.start({
      nWorkers: 2,
      memoryLimit: '256 MiB',
      config: { ...config, 'scheduler.client-grace': '200ms' },
    })
    const { cluster, client } = faults
    const random = new Prng(SEED + 1)
    const program = join(faults.folder, 'scatters.mjs')
    writeFileSync(
      program,
      `import { Client } from ${JSON.stringify(pathToFileURL(resolve('dist/index.js')).href)}
       const client = await Client.connect({ address: process.argv[2], token: process.argv[3] })
       const held = Array.from({ length: 12 }, (_, n) => client.scatter(new Uint8Array(n % 2 === 0 ? 4e6 : 4e3).fill(n)))
       console.log('scattering')
       setInterval(() => held.length, 1000)`,
    )
    for (let round = 0; round < 5; round++) {
      const child = spawn(process.execPath, [program, cluster.address, cluster.token as string], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const ended = once(child, 'exit')
      await once(child.stdout, 'data')
      await sleep(random.int(60))
      child.kill('SIGKILL')
      await ended
    }
    // What had not arrived anywhere is known to the scheduler alone, until the grace of its client is over.
    await until(
      'the scheduler knows no task',
      async () => (await client.schedulerInfo()).tasks,
      (tasks) => Object.values(tasks).every((count) => count === 0),
    )
    await faults.emptied()
    await until(
      'no part of a value is left',
      () => faults.partFiles(),
      (paths) => paths.length === 0,
    )
  })
})

describe('kill -9 of the process with scheduler and nannies', () => {
  it('is told to whoever waits, and leaves neither workers nor directories', async () => {
    const faults = await FaultCluster.start({ nWorkers: 2, memoryLimit: '256 MiB', config })
    try {
      const { cluster, client } = faults
      const blocks = client.map((n: number) => new Float64Array(50_000).fill(n), [1, 2, 3, 4])
      await client.gather(blocks)
      const loops = client.submit(() => {
        for (;;);
      })
      await faults.executorOf(loops)
      const helper = cluster.scheduler.pid
      const family = descendantsOf(helper)
      expect(faults.valueFiles().length).toBeGreaterThan(0)
      process.kill(helper, 'SIGKILL')
      await expect(loops.result({ timeout: 10_000 })).rejects.toMatchObject({ code: 'COMM_CLOSED' })
      await until(
        'its workers are gone',
        () => family.filter(isAlive),
        (pids) => pids.length === 0,
      )
      await until(
        'their directories are gone',
        () => faults.valueFiles(),
        (paths) => paths.length === 0,
      )
    } finally {
      await faults[Symbol.asyncDispose]()
    }
  })
})
