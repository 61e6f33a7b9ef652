// What must hold when a simulated cluster has come to rest: values and errors are right, every sum equals a recount, and
// what the scheduler believes about values is what the stores hold.

import { isErrorCode } from '../errors/plimsoll-error.ts'
import { checkInvariants } from '../scheduler/core/validate.ts'
import { storyLines } from './describe.ts'
import type { SimClient } from './sim-client.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { SimWorker } from './sim-worker.ts'

/** What ends a future without a failed task: also a scatter for which no worker could be reached, or had room. */
const ABOUT_CLIENTS = ['TIMEOUT', 'TASK_CANCELLED', 'CONNECT_FAILED', 'COMM_CLOSED', 'STORE_FULL'] as const
/** File work of a store that does not end within this time never does. */
const SETTLE_MS = 60_000

export async function checkQuiet(cluster: SimCluster): Promise<void> {
  const { world } = cluster
  try {
    checkInvariants(cluster.scheduler.state)
    for (const worker of cluster.workers) worker.checkInvariants()
  } catch (error) {
    return world.fail(String(error))
  }
  for (const worker of cluster.workers) await checkStore(cluster, worker)
  if (world.failure !== null) return
  checkBooks(cluster)
  for (const client of cluster.clients) if (!client.ended) checkFutures(cluster, client)
}

export async function checkEmpty(cluster: SimCluster): Promise<void> {
  const { world, scheduler } = cluster
  const { tasks, functions, queue, noWorker, placements } = scheduler.state
  const left = { tasks, functions, queue, noWorker, placements }
  for (const [name, each] of Object.entries(left))
    if (each.size > 0) world.fail(`the scheduler has ${each.size} ${name} left`, [...tasks.keys()])
  for (const worker of cluster.workers) {
    await checkStore(cluster, worker)
    const held = [...worker.store.values()]
    if (held.length > 0) world.fail(`${worker.parts.name} still holds ${held.map((value) => value.key).join(', ')}`)
    // A bounded number of failed tasks is remembered, so that a repeated assignment is not run again.
    const known = [...(worker.state?.tasks.values() ?? [])].filter((task) => task.state !== 'error')
    if (known.length > 0)
      world.fail(
        `the core of ${worker.parts.name} still knows ${known.length} keys`,
        known.map((task) => `${task.key} ${task.state}`),
      )
  }
  checkFiles(cluster)
}

/** No file of a value is left. */
export function checkFiles({ nannies, disks, world }: SimCluster): void {
  // What a nanny that was killed left behind is removed by the next one that starts on its machine.
  const killed = nannies.filter((nanny) => !nanny.finished && !nanny.parts.process.alive)
  for (const [machine, disk] of disks) {
    const files = disk.files
      .paths('/')
      .filter((path) => path.includes('/blobs/') || path.includes('/tmp/'))
      .filter((path) => !killed.some((nanny) => path.split('/')[2] === nanny.workerId))
    if (files.length > 0) world.fail(`files are left on ${machine}`, files)
  }
}

/** S6, and nothing on the move. */
async function checkStore({ world }: SimCluster, worker: SimWorker): Promise<void> {
  await world.settle(worker.store.settled(), world.now + SETTLE_MS)
  const counted = await world.settle(worker.store.recount(), world.now + SETTLE_MS)
  if (world.failure !== null) return
  if (counted === undefined) return world.fail(`the store of ${worker.parts.name} does not come to rest`)
  if (counted.differences.length > 0)
    world.fail(`the store of ${worker.parts.name} is not as counted`, counted.differences)
  const core = new Map(
    [...(worker.state?.tasks.values() ?? [])].flatMap((task) => (task.value === null ? [] : [[task.key, task.runId]])),
  )
  for (const { key, runId } of worker.store.values()) {
    if (core.get(key) !== runId)
      world.fail(
        `the store of ${worker.parts.name} holds run ${runId} of ${key}, its core knows ${core.get(key) ?? 'nothing'}`,
      )
    core.delete(key)
  }
  for (const key of core.keys())
    world.fail(`the core of ${worker.parts.name} believes in a value of ${key} that is not stored`)
}

/** Who has what, and all sums over it. */
function checkBooks(cluster: SimCluster): void {
  const { world, scheduler } = cluster
  const held = new Map<string, Map<string, number>>()
  for (const worker of cluster.workers)
    held.set(worker.parts.workerId, new Map([...worker.store.values()].map(({ key, runId }) => [key, runId])))
  for (const record of scheduler.state.workers.values()) {
    if (record.link !== 'live') world.fail(`${record.id} is still ${record.link} at rest`)
    const stored = held.get(record.id) ?? new Map<string, number>()
    let nbytes = 0
    for (const task of record.replicas.keys()) {
      nbytes += task.nbytes
      if (stored.get(task.key) !== task.acceptedRunId)
        world.fail(
          `${record.id} should hold run ${task.acceptedRunId} of ${task.key} and holds ${stored.get(task.key) ?? 'none'}`,
          storyLines(cluster, task.key),
        )
      stored.delete(task.key)
      if (task.holders.length === 1 && record.loose.has(task))
        world.fail(`${record.id} may drop the only copy of ${task.key}`, storyLines(cluster, task.key))
    }
    for (const key of stored.keys())
      world.fail(`${record.id} holds ${key}, of which the scheduler does not know`, storyLines(cluster, key))
    if (record.nbytes !== nbytes) world.fail(`${record.id} has ${nbytes} bytes, counted as ${record.nbytes}`)
    const { processing, expectedBytes, occupancyUs } = record
    if (processing.size > 0 || expectedBytes !== 0 || occupancyUs !== 0)
      world.fail(
        `${record.id} is not idle: ${processing.size} tasks, ${occupancyUs} us, ${expectedBytes} bytes expected`,
      )
  }
}

function checkFutures(cluster: SimCluster, client: SimClient): void {
  const { world } = cluster
  for (const { state, value, failure } of client.held.values()) {
    const { outcome, key } = state
    const wrong = (what: string): void => world.fail(`${client.name} ${key}: ${what}`, storyLines(cluster, key))
    switch (outcome.status) {
      case 'finished':
        if (value === null) wrong(`finished, but not read: ${failure?.message}`)
        break
      case 'error': {
        const why = findReason(cluster, outcome.error)
        if (why !== null) wrong(why)
        break
      }
      case 'pending':
        wrong('still pending at rest')
        break
      case 'cancelled':
      case 'lost':
    }
  }
}

/** Why a failed future should not have failed like this; null when it is right. */
function findReason(cluster: SimCluster, error: Error): string | null {
  const origin = (error as { readonly plimsoll?: { readonly key: string } }).plimsoll?.key
  const task = origin === undefined ? undefined : cluster.book.get(origin)
  if (task === undefined)
    return ABOUT_CLIENTS.some((code) => isErrorCode(error, code)) ? null : `failed with ${error.message}`
  if (isErrorCode(error, 'KEY_CONFLICT') && cluster.book.isDisputed(task.key)) return null
  if (isErrorCode(error, 'TASK_TIMEOUT')) return task.options.timeoutMs === undefined ? error.message : null
  const { kind, times } = task.trouble
  // Its first failure of whatever kind is its last.
  const once = task.options.idempotent === false
  if (once && (isErrorCode(error, 'WORKER_LOST') || (error instanceof RangeError && kind === 'throws'))) return null
  const { allowedFailures, allowedOomFailures } = cluster.scheduler.state.options
  // Retries are for timeouts as well: none may be left for what throws.
  if (error instanceof RangeError)
    return kind === 'throws' && (times === Infinity || task.options.timeoutMs !== undefined)
      ? null
      : `${origin} threw for good`
  if (isErrorCode(error, 'TASK_CRASHED') || isErrorCode(error, 'WORKER_LOST'))
    return cluster.book.deathsOf(task.key) > (once ? 0 : allowedFailures)
      ? null
      : `${origin} was blamed for too few deaths: ${error.message}`
  if (isErrorCode(error, 'TASK_OUT_OF_MEMORY'))
    return cluster.book.outOfMemoryOf(task.key) > (once ? 0 : allowedOomFailures) ? null : error.message
  if (isErrorCode(error, 'STORE_FULL') || isErrorCode(error, 'INPUTS_EXCEED_LIMIT'))
    return cluster.options.workers.some((worker) => worker.memoryLimit > 0) ? null : error.message
  return `failed with ${error.message}`
}
