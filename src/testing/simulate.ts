// One simulation from beginning to end: a seed decides cluster, clients and faults; then faults stop, everything heals, and
// what clients wait for has to come; then everything is released, and nothing may be left.

import { refuseUnknown } from '../errors/unknown-option.ts'
import { describeOutcome, describeStuck, storyLines } from './describe.ts'
import { checkEmpty, checkFiles, checkQuiet } from './final-checks.ts'
import { applyFault, heal } from './faults.ts'
import type { PlannedFault } from './fault-plan.ts'
import { disputedKeys, killsScheduler, planSimulation, type SeedOptions, type SimulationPlan, wrong } from './plan.ts'
import type { PlannedAct } from './scenario.ts'
import { SimCluster } from './sim-cluster.ts'
import type { SimClient } from './sim-client.ts'
import { Watch } from './watch.ts'
import { type SimFailure, World } from './world.ts'

export interface TraceOptions {
  /** Keeps a line per event, message and effect (default false). */
  readonly trace?: boolean
}

/** What to run: what a seed stands for, or a plan that was recorded. */
export type SimulationOptions = TraceOptions & (SeedOptions | { readonly plan: SimulationPlan })

export interface SimulationReport {
  readonly seed: number
  /** Null when everything held. */
  readonly failure: SimFailure | null
  /** Of all events in their order: equal for equal seeds. */
  readonly hash: string
  readonly events: number
  readonly tasks: number
  readonly virtualMs: number
  /** What became of each key that somebody held, and the faults there were. */
  readonly outcome: readonly string[]
  /** With `trace`. */
  readonly trace: readonly string[]
}

/** Quiet has to come within this time after the last fault. */
const QUIET_WITHIN_MS = 180_000
/** Longer than one placement takes, with messages under way. */
const IDLE_MS = 1000
const EMPTY_WITHIN_MS = 60_000
/** Longer than messages, slow calls to a disk and mappings take. */
const REST_MS = 1500

/**
 * Runs what a seed or a plan names. Never rejects for what the simulated cluster does: the report says it.
 *
 * @throws PlimsollError INVALID_ARGUMENT
 */
export async function simulate(options: SimulationOptions): Promise<SimulationReport> {
  const { plan, trace } = planned(options)
  const world = new World({ seed: plan.seed, trace })
  const cluster = new SimCluster(world, plan.cluster)
  for (const key of disputedKeys(plan)) cluster.book.dispute(key)
  watch(cluster, plan.faults)
  for (let n = 0; n < plan.clients; n++) cluster.startClient()
  for (const each of plan.acts) world.at(each.atMs, `act of client ${each.client}`, () => act(cluster, each))
  for (const fault of plan.faults) world.at(fault.atMs, `fault ${fault.kind}`, () => applyFault(cluster, fault))
  await world.run(() => world.now >= plan.endMs, plan.endMs)
  heal(cluster)
  const outcome = await (killsScheduler(plan.faults) ? endWithoutScheduler(cluster) : endInOrder(cluster))
  for (const client of cluster.clients) client.dispose()
  return report(world, cluster, plan.faults, outcome)
}

function planned(options: SimulationOptions): { readonly plan: SimulationPlan; readonly trace: boolean } {
  if (typeof options !== 'object' || options === null) refuseUnknown('simulate', options, ['seed', 'plan'])
  const { trace = false, ...what } = options
  if (typeof trace !== 'boolean') throw wrong('trace', 'true or false', trace)
  if (!('plan' in what)) return { plan: planSimulation(what), trace }
  refuseUnknown('a simulation of a plan', what, ['plan'])
  if (typeof what.plan !== 'object' || what.plan === null) throw wrong('plan', 'what planSimulation gives', what.plan)
  return { plan: what.plan, trace }
}

function watch(cluster: SimCluster, faults: readonly PlannedFault[]): void {
  const { world, scheduler, book } = cluster
  const kinds = faults.map(({ kind }) => kind)
  const watch = new Watch(scheduler.state, book, kinds)
  scheduler.afterStep = (event) => {
    const fault = watch.findFault(event)
    if (fault !== null) world.fail(fault.what, fault.key === undefined ? [] : storyLines(cluster, fault.key))
  }
}

async function endInOrder(cluster: SimCluster): Promise<string[]> {
  await quieten(cluster)
  const outcome = describeOutcome(cluster)
  await empty(cluster)
  return outcome
}

/** Clients hear of it, workers end, and nothing is left. */
async function endWithoutScheduler(cluster: SimCluster): Promise<string[]> {
  await waitForTheEnd(cluster)
  return describeOutcome(cluster)
}

async function waitForTheEnd(cluster: SimCluster): Promise<void> {
  const { world } = cluster
  const isOver = (): boolean => cluster.living.length === 0 && cluster.clients.every((client) => client.isToldTheEnd)
  if (await world.run(isOver, world.now + QUIET_WITHIN_MS)) return checkFiles(cluster)
  if (world.failure !== null) return
  const waiting = cluster.clients.filter((client) => !client.isToldTheEnd).map((client) => client.name)
  world.fail(`the end of the scheduler is not heard of by ${waiting.join(', ') || 'workers'}`, describeStuck(cluster))
}

/** While nothing is broken no worker stands idle beside tasks that any worker may run. */
function watchIdle(cluster: SimCluster, since = new Map<string, number>()): void {
  const { world, scheduler } = cluster
  const anywhere = [...scheduler.state.queue].some(({ group }) => group.allowed === null)
  for (const { id, isRunning, crowded, processing } of scheduler.state.workers.values()) {
    if (!anywhere || !isRunning || crowded || processing.size > 0) since.delete(id)
    else if (world.now - (since.get(id) ?? world.now) > IDLE_MS)
      world.fail(`${id} has been idle for ${IDLE_MS} ms while ${scheduler.state.queue.size} tasks are queued`)
    else if (!since.has(id)) since.set(id, world.now)
  }
  world.at(IDLE_MS / 10, 'watch for idle workers', () => watchIdle(cluster, since))
}

async function quieten(cluster: SimCluster): Promise<void> {
  const { world } = cluster
  watchIdle(cluster)
  const isQuiet = await world.run(
    restsFor(cluster, REST_MS, () => isAtRest(cluster)),
    world.now + QUIET_WITHIN_MS,
  )
  if (world.failure !== null) return
  if (!isQuiet) return world.fail('stuck: not everything that is waited for came', describeStuck(cluster))
  // What was read once may have been lost and made again since.
  for (const client of cluster.clients) client.readAgain()
  if (
    !(await world.run(
      restsFor(cluster, REST_MS, () => isAtRest(cluster)),
      world.now + QUIET_WITHIN_MS,
    ))
  )
    return world.fail('stuck: not everything can be read again', describeStuck(cluster))
  await checkQuiet(cluster)
}

async function empty(cluster: SimCluster): Promise<void> {
  const { world } = cluster
  if (world.failure !== null) return
  for (const client of cluster.clients) client.close()
  const isEmpty = await world.run(
    restsFor(cluster, REST_MS, () => isAtRest(cluster) && cluster.scheduler.state.tasks.size === 0),
    world.now + EMPTY_WITHIN_MS,
  )
  if (world.failure !== null) return
  if (!isEmpty) return world.fail('stuck: not everything was forgotten after it was released', describeStuck(cluster))
  await checkEmpty(cluster)
}

/** True when the condition has held for so long, and nothing changed meanwhile. */
function restsFor(cluster: SimCluster, restMs: number, condition: () => boolean): () => boolean {
  let since: number | null = null
  let transitions = -1
  return () => {
    const { total } = cluster.scheduler.state.story
    if (total !== transitions || !condition()) {
      since = null
      transitions = total
      return false
    }
    since ??= cluster.world.now
    return cluster.world.now - since >= restMs
  }
}

/** Every client has what it waits for, and no worker does anything. */
function isAtRest(cluster: SimCluster): boolean {
  if (!cluster.clients.every((client) => client.isSatisfied)) return false
  const { state } = cluster.scheduler
  if (state.requests.size > 0 || state.restarting.size > 0) return false
  for (const task of state.tasks.values())
    if (task.isNeeded && task.state !== 'memory' && task.state !== 'erred') return false
  return cluster.living.every(({ worker }) => worker?.isIdle === true)
}

function act(cluster: SimCluster, { client: number, act: what }: PlannedAct): void {
  const client = cluster.clients[number] as SimClient
  if (client.ended) return
  cluster.world.note(`${client.name} acts: ${what.kind}`)
  switch (what.kind) {
    case 'submit':
      for (const task of what.tasks) cluster.book.add(task)
      return client.submit(what.tasks, what.wanted)
    case 'scatter':
      for (const task of what.tasks) cluster.book.add(task)
      return client.scatter(what.tasks, what.broadcast)
    case 'release':
      return client.release(what.keys)
    case 'retry':
      return client.retry(what.keys)
    case 'fire-and-forget':
      return client.fireAndForget(what.keys)
    case 'vanish':
      return client.vanish()
    case 'cancel':
      return client.cancel(what.keys, what.force)
  }
}

function report(
  world: World,
  cluster: SimCluster,
  faults: readonly PlannedFault[],
  outcome: readonly string[],
): SimulationReport {
  return {
    seed: world.seed,
    failure: world.failure,
    hash: world.hash,
    events: world.events,
    tasks: cluster.book.size,
    virtualMs: world.now,
    outcome: [...faults.map((fault) => `${fault.atMs.toFixed(0)} ms ${fault.kind}`), ...outcome],
    trace: world.lines ?? [],
  }
}
