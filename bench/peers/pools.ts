// The program behind every sample of Piscina and poolifier: a pool of two threads, used as its documentation shows.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Figures, SampleRequest } from '../case.ts'
import { POOLS } from '../prepare.ts'
import { warmUp, warmUpRange } from '../warm-up.ts'

const THREADS = 2
const BATCH = 1000

type Task = 'increment' | 'sleep'

interface Pool {
  run(task: Task, argument: number): Promise<unknown>
  close(): Promise<void>
}

/** What is used of the packages; they are installed only for measurements, so their types may not be there. */
interface PiscinaModule {
  Piscina: new (options: object) => {
    run(argument: number, options: { name: string }): Promise<unknown>
    close(): Promise<void>
  }
}
interface PoolifierModule {
  FixedThreadPool: new (
    threads: number,
    file: string,
  ) => { execute(argument: number, name: string): Promise<unknown>; destroy(): Promise<void> }
}

function createPool(request: SampleRequest): Pool {
  const load = createRequire(join(POOLS, 'package.json'))
  if (request.system === 'piscina') {
    const { Piscina } = load('piscina') as PiscinaModule
    const pool = new Piscina({ filename: join(POOLS, 'tasks.js'), minThreads: THREADS, maxThreads: THREADS })
    return { run: (name, argument) => pool.run(argument, { name }), close: () => pool.close() }
  }
  const { FixedThreadPool } = load('poolifier') as PoolifierModule
  const pool = new FixedThreadPool(THREADS, join(POOLS, 'poolifier-worker.js'))
  return { run: (name, argument) => pool.execute(argument, name), close: () => pool.destroy() }
}

async function map(pool: Pool, { sizes, warmUpMs }: SampleRequest): Promise<Figures> {
  const all = (arguments_: readonly number[]) => Promise.all(arguments_.map((each) => pool.run('increment', each)))
  await warmUp(warmUpMs, async (round) => void (await all(warmUpRange(round, BATCH))))
  const tasks = sizes['tasks'] as number
  const startedAt = performance.now()
  const results = await all(Array.from({ length: tasks }, (_, index) => index))
  const elapsedMs = performance.now() - startedAt
  expectEqual(results[tasks - 1], tasks)
  return { tasksPerSecond: (tasks / elapsedMs) * 1000 }
}

async function roundTrips(pool: Pool, { sizes, warmUpMs }: SampleRequest): Promise<Figures> {
  await warmUp(warmUpMs, async (round) => void (await pool.run('increment', -round)))
  const trips = sizes['trips'] as number
  const startedAt = performance.now()
  for (let index = 0; index < trips; index++) expectEqual(await pool.run('increment', index), index + 1)
  return { resultMs: (performance.now() - startedAt) / trips }
}

async function sleeps(pool: Pool, { sizes, warmUpMs }: SampleRequest): Promise<Figures> {
  const [tasks, taskMs] = [sizes['tasks'] as number, sizes['taskMs'] as number]
  await warmUp(warmUpMs, async (round) => {
    await Promise.all(warmUpRange(round, BATCH / 10).map(() => pool.run('sleep', 1)))
  })
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: tasks }, () => pool.run('sleep', taskMs)))
  const elapsedMs = performance.now() - startedAt
  return { seconds: elapsedMs / 1000, overIdeal: elapsedMs / ((tasks * taskMs) / THREADS) }
}

function expectEqual(actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`the result is ${String(actual)}, it should be ${String(expected)}`)
}

const RUNS: Readonly<Record<string, (pool: Pool, request: SampleRequest) => Promise<Figures>>> = {
  a: map,
  b: roundTrips,
  g: sleeps,
}

const request = JSON.parse(process.argv[2] ?? '') as SampleRequest
const run = RUNS[request.case]
if (run === undefined) throw new Error(`the pools have no case ${request.case}`)
const pool = createPool(request)
const figures = await run(pool, request)
await pool.close()
console.log(JSON.stringify(figures))
