// The README's example: real flight records, far more intermediate data than the workers may keep in memory, and answers
// that are checked. Everything a reader should learn from is in `computeAnswers`.

import { relative } from 'node:path'
import { Client } from '../../cluster/local-client.ts'
import { LocalCluster } from '../../cluster/local-cluster.ts'
import type { Future } from '../../client/future.ts'
import { fromModule } from '../../functions/modules.ts'
import { formatBytes, formatDurationMs } from '../../base/units.ts'
import { answersInOneProcess, differences, RELATIVE_TOLERANCE, type Answers } from './check.ts'
import { findFlightRecords, rowGroupSizes } from './records.ts'
import { formatAnswers, formatMemoryReport } from './report.ts'
import { solve } from './solve.ts'
import { runStage, StageLine } from './stage-line.ts'
import type * as Tasks from './tasks.ts'

export interface FlightsOptions {
  readonly workers: number
  readonly nthreads: number
  /** Per worker, bytes. */
  readonly memoryLimit: number
  /** Share of the limit above which values are spilled; for the report. */
  readonly target: number
  /** Stay up until `signal` when done. */
  readonly keep: boolean
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal
  readonly output: NodeJS.WriteStream
}

const BLOCKS_PER_GROUP = 8
const FAN_IN = 8
const MINIMUM_FLIGHTS = 1000

/** A function of the module tasks.ts, by reference. */
function remote<K extends keyof typeof Tasks>(name: K): (typeof Tasks)[K] {
  return fromModule<(typeof Tasks)[K]>(new URL('./tasks.js', import.meta.url), name)
}

/** Reduces futures to one in a tree, so that no task needs all partial results at once. */
function reduceTree<T>(
  client: Client,
  merge: (parts: readonly T[]) => T,
  futures: readonly Future<T>[],
): { root: Future<T>; all: Future<T>[] } {
  const all: Future<T>[] = []
  let level = futures
  while (level.length > 1) {
    const next: Future<T>[] = []
    for (let i = 0; i < level.length; i += FAN_IN)
      next.push(client.submit(merge, level.slice(i, i + FAN_IN)) as Future<T>)
    all.push(...next)
    level = next
  }
  return { root: level[0] as Future<T>, all }
}

async function computeAnswers(
  client: Client,
  path: string,
  groups: readonly number[],
  options: FlightsOptions,
): Promise<Answers> {
  const { output } = options
  const starts = groups.map((_, i) => groups.slice(0, i).reduce((sum, rows) => sum + rows, 0))
  const records = client.map(
    remote('loadRecords'),
    groups.map(() => path),
    starts,
    groups.map((rows, i) => (starts[i] as number) + rows),
  )
  await runStage('1. read the records', records, output)

  const parts = groups.flatMap(() => Array.from({ length: BLOCKS_PER_GROUP }, (_, part) => part))
  const sources = records.flatMap((future) => Array.from({ length: BLOCKS_PER_GROUP }, () => future))
  const blocks = client.map(
    remote('buildFeatures'),
    sources,
    parts,
    parts.map(() => BLOCKS_PER_GROUP),
  )
  await runStage('2. derive the features', blocks, output, () => blockNote(blocks, options))
  client.release(records)

  const reduce = async <T>(
    title: string,
    map: (block: Tasks.FeatureBlock) => T,
    merge: (parts: readonly T[]) => T,
  ): Promise<Future<T>> => {
    const mapped = client.map(map, blocks) as Future<T>[]
    const { root, all } = reduceTree(client, merge, mapped)
    await runStage(title, [...mapped, ...all], output)
    return root
  }
  const delays = await reduce('3. mean delay by hour and origin', remote('sumDelays'), remote('mergeDelays'))
  const routes = await reduce('4. delays of every route', remote('groupRoutes'), remote('mergeRoutes'))
  const equations = await reduce('5. regression of the delay', remote('normalEquations'), remote('addEquations'))
  const summary = await reduce('6. summary of every feature', remote('summarize'), remote('mergeSummaries'))
  const percentiles = client.submit(remote('routePercentiles'), routes, MINIMUM_FLIGHTS)
  const { xx, xy } = await equations.result()
  return {
    delays: await delays.result(),
    routes: await percentiles.result(),
    coefficients: solve(xx, xy),
    summary: await summary.result(),
  }
}

function blockNote(blocks: readonly Future<Tasks.FeatureBlock>[], options: FlightsOptions): string {
  const bytes = blocks.reduce((sum, block) => sum + (block.nbytes ?? 0), 0)
  const room = options.workers * options.memoryLimit * options.target
  return `${formatBytes(bytes)} kept, ${(bytes / room).toFixed(1)} times the workers’ memory target`
}

async function checkAnswers(
  answers: Answers,
  path: string,
  groups: readonly number[],
  output: NodeJS.WriteStream,
): Promise<boolean> {
  const total = groups.reduce((sum, rows) => sum + rows, 0)
  const line = new StageLine('7. the same in a single process', total, 'flights', output)
  const expected = await answersInOneProcess(path, groups, MINIMUM_FLIGHTS, (rows) => line.update(rows))
  const found = differences(answers, expected)
  line.finish(
    found.length === 0
      ? `all answers agree (counts equal, floats within ${RELATIVE_TOLERANCE})`
      : `${found.length} answers differ`,
  )
  for (const difference of found.slice(0, 10)) output.write(`  ${difference}\n`)
  return found.length === 0
}

/** Runs the demo and returns the exit code: 0 when every answer agrees with a single-process computation, 1 when not, 130 after Ctrl-C. */
export async function runFlights(options: FlightsOptions): Promise<number> {
  const startedAt = performance.now()
  const path = findFlightRecords()
  const groups = await rowGroupSizes(path)
  const cluster = new LocalCluster({
    nWorkers: options.workers,
    nthreads: options.nthreads,
    memoryLimit: options.memoryLimit,
  })
  try {
    const job = Client.connect(cluster).then((client) => runOn(client, path, groups, options, startedAt))
    const agreed = await unlessAborted(job, options.signal)
    if (agreed === null) {
      options.output.write(options.output.isTTY ? '\r\u001B[KInterrupted.\n' : 'Interrupted.\n')
      return 130
    }
    if (options.keep) await stayUp(cluster, options.signal, options.output)
    return agreed ? 0 : 1
  } finally {
    await cluster.close()
  }
}

/** Null when the signal came first; the promise is nobody's then. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | null> {
  promise.catch(() => {})
  const aborted = new Promise<null>((resolve) => {
    if (signal.aborted) resolve(null)
    signal.addEventListener('abort', () => resolve(null), { once: true })
  })
  return await Promise.race([aborted, promise])
}

/** Whether the answers agree with those of a single process. */
async function runOn(
  client: Client,
  path: string,
  groups: readonly number[],
  options: FlightsOptions,
  startedAt: number,
): Promise<boolean> {
  const { output } = options
  const { address } = await client.schedulerInfo()
  output.write(
    `${options.workers} workers with ${options.nthreads} ${options.nthreads === 1 ? 'thread' : 'threads'} and ${formatBytes(options.memoryLimit)} each, scheduler at ${address}\n\n`,
  )
  const answers = await computeAnswers(client, path, groups, options)
  const report = formatMemoryReport(await client.schedulerInfo())
  const agreed = await checkAnswers(answers, path, groups, output)
  output.write(
    `\n${formatAnswers(answers)}\n\n${report}\n\nDone in ${formatDurationMs(performance.now() - startedAt)}.\n`,
  )
  return agreed
}

async function stayUp(cluster: LocalCluster, signal: AbortSignal, output: NodeJS.WriteStream): Promise<void> {
  output.write(
    `\nThe cluster stays up: look around with\n  PLIMSOLL_TOKEN=${cluster.token} ${ownCommand()} status ${cluster.address} --watch\nCtrl-C ends it.\n`,
  )
  const alive = setInterval(() => {}, 60_000)
  await unlessAborted(new Promise<never>(() => {}), signal)
  clearInterval(alive)
}

/** How this command was called, for another one like it: a checkout has no `plimsoll` on the PATH. */
function ownCommand(): string {
  const script = process.argv[1] ?? ''
  return script.endsWith('.js') ? `node ${relative(process.cwd(), script)}` : 'plimsoll'
}
