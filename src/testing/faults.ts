// Faults, done to a simulated cluster; and their end.

import { assertNever } from '../base/invariant.ts'
import type { PlannedFault } from './fault-plan.ts'
import type { SimCluster } from './sim-cluster.ts'
import { DISK_MOUNT, MEMORY_MOUNT, type SimDisk } from './sim-disk.ts'
import type { SimNanny } from './sim-nanny.ts'
import type { SimWorker } from './sim-worker.ts'

const SLOW_LINK = 30
const SLOW_DISK = 60
const FAILING = 0.5
const KEEP_MS = 2000
const STORM_STEPS = 10
const HOARDED = 0.82
const HOARD_FACTOR = 6

export function applyFault(cluster: SimCluster, fault: PlannedFault): void {
  cluster.world.note(`fault: ${fault.kind} ${fault.target} for ${fault.forMs.toFixed(0)} ms`)
  const { kind, forMs } = fault
  switch (kind) {
    case 'kill-worker':
      return pick(atWork(cluster.living), fault)?.killWorker()
    case 'kill-nanny':
      return killNanny(cluster, pick(atWork(cluster.living), fault), forMs)
    case 'cut-worker': {
      const connection = pick(cluster.workers, fault)?.link.connection ?? null
      return connection === null ? undefined : cluster.network.cut(connection)
    }
    case 'cut-nanny': {
      const connection = pick(cluster.living, fault)?.connection ?? null
      return connection === null ? undefined : cluster.network.cut(connection)
    }
    case 'cut-any': {
      const connection = pick([...cluster.network.connections()], fault)
      return connection === undefined ? undefined : cluster.network.cut(connection)
    }
    case 'partition':
      return partition(cluster, fault)
    case 'slow-link':
      return cluster.network.slow(pick([...cluster.disks.keys()], fault) ?? '', SLOW_LINK, forMs)
    case 'slow-disk':
      return diskOf(cluster, fault).slow(SLOW_DISK, forMs)
    case 'failing-disk':
      return diskOf(cluster, fault).failing(FAILING, forMs)
    case 'full-disk':
      return full(cluster, diskOf(cluster, fault), DISK_MOUNT, forMs)
    case 'full-memory':
      return full(cluster, diskOf(cluster, fault), MEMORY_MOUNT, forMs)
    case 'corrupt-blob':
      return corrupt(diskOf(cluster, fault), fault)
    case 'pause':
    case 'resume':
      return setStatus(pick(cluster.workers, fault), kind === 'pause' ? 'paused' : 'running')
    case 'pause-storm':
      return pauseStorm(cluster, pick(cluster.living, fault), forMs)
    case 'pause-all':
      for (const worker of cluster.workers) setStatus(worker, 'paused')
      cluster.world.at(forMs, 'all go on', () => {
        for (const worker of cluster.workers) setStatus(worker, 'running')
      })
      return
    case 'hoard':
      return hoard(pick(cluster.workers, fault), fault)
    case 'kill-scheduler':
      return cluster.scheduler.process.kill()
    case 'partition-client':
      return partitionClient(cluster, fault)
    case 'retire':
      return retire(cluster, fault)
    case 'replicate':
    case 'rebalance':
      return move(cluster, kind, fault)
    case 'close-worker':
      return closeWorker(cluster, pick(cluster.living, fault))
    case 'new-worker':
      return void cluster.startNanny(cluster.options.workers[fault.target % cluster.options.workers.length] as never)
    case 'vanish-client':
      return vanish(cluster, fault)
    case 'cut-client': {
      const connection =
        pick(
          cluster.clients.filter((client) => !client.ended),
          fault,
        )?.connection ?? null
      return connection === null ? undefined : cluster.network.cut(connection)
    }
    case 'restart':
      return pick(
        cluster.clients.filter((client) => !client.ended),
        fault,
      )?.ask('restart', {
        timeoutMs: 20_000,
        waitForWorkers: fault.target % 2 === 0,
      })
    default:
      assertNever(kind, 'fault')
  }
}

/** Faults are over: what is broken works again, and there is at least one worker and one client. */
export function heal(cluster: SimCluster): void {
  cluster.world.note('everything heals')
  cluster.network.heal()
  for (const client of cluster.clients) client.calmDown()
  for (const disk of cluster.disks.values()) disk.heal()
  for (const worker of cluster.workers) if (worker.state?.requested === 'paused') setStatus(worker, 'running')
  keepWorkers(cluster)
}

/** Whoever closes now takes its time; somebody has to be there afterwards, and every worker that tasks ask for by name. */
function keepWorkers(cluster: SimCluster): void {
  if (!cluster.scheduler.process.alive) return
  const [first, ...others] = cluster.options.workers
  const isThere = (name: string): boolean => cluster.living.some((nanny) => nanny.parts.name === name)
  if (cluster.living.length === 0 || !isThere('w0')) cluster.startNanny(first as never, 'w0')
  for (const [n, profile] of others.entries())
    if (cluster.book.namesAsked.has(`w${n + 1}`) && !isThere(`w${n + 1}`)) cluster.startNanny(profile, `w${n + 1}`)
  cluster.world.at(KEEP_MS, 'keep workers', () => keepWorkers(cluster))
}

function setStatus(worker: SimWorker | undefined, status: 'paused' | 'running'): void {
  worker?.driver.dispatch({ kind: 'MessagesReceived', messages: [{ op: 'set-status', status }] })
}

/** Paused and resumed again and again, the last time resumed. */
function pauseStorm(cluster: SimCluster, nanny: SimNanny | undefined, forMs: number): void {
  for (let n = 0; n < STORM_STEPS; n++) {
    const status = n % 2 === 0 ? 'paused' : 'running'
    cluster.world.at((n * forMs) / STORM_STEPS, `storm: ${status}`, () => setStatus(nanny?.worker ?? undefined, status))
  }
}

/** Memory that tasks left behind keeps a worker above `pause`. */
function hoard(worker: SimWorker | undefined, { forMs, target }: PlannedFault): void {
  worker?.pool.hoard(HOARDED * worker.parts.profile.memoryLimit, HOARD_FACTOR * forMs, target % 2 === 0)
}

function partitionClient(cluster: SimCluster, fault: PlannedFault): void {
  const client = pick(cluster.clients, fault)
  const others = ['m-scheduler', ...cluster.disks.keys()]
  const other = others[(fault.target >> 3) % others.length] as string
  if (client !== undefined) cluster.network.partition(client.process.machine, other, fault.forMs)
}

function pick<T>(from: readonly T[], { target }: PlannedFault): T | undefined {
  return from[target % Math.max(1, from.length)]
}

/** Those with work, while there are any: the death of an idle worker shows little. */
function atWork(nannies: readonly SimNanny[]): readonly SimNanny[] {
  const busy = nannies.filter(({ worker }) => (worker?.state?.runs.size ?? 0) > 0)
  return busy.length > 0 ? busy : nannies
}

function diskOf(cluster: SimCluster, fault: PlannedFault): SimDisk {
  return pick([...cluster.disks.values()], fault) as SimDisk
}

/** The machine is back after a while, with a nanny that knows nothing of the old one. */
function killNanny(cluster: SimCluster, nanny: SimNanny | undefined, backMs: number): void {
  if (nanny === undefined) return
  for (const runId of nanny.worker?.pool.runningIds ?? []) {
    const key = nanny.worker?.state?.runs.get(runId)?.key
    if (key !== undefined) cluster.book.noteDeath(key)
  }
  nanny.parts.process.kill()
  cluster.world.at(backMs, 'a new nanny', () => void cluster.startNanny(nanny.parts.profile))
}

function partition(cluster: SimCluster, fault: PlannedFault): void {
  const machines = [...cluster.disks.keys()]
  const a = pick(machines, fault) as string
  const others = ['m-scheduler', 'm-scheduler', ...machines.filter((machine) => machine !== a)]
  cluster.network.partition(a, others[(fault.target >> 3) % others.length] as string, fault.forMs)
}

function full(cluster: SimCluster, disk: SimDisk, mount: typeof DISK_MOUNT | typeof MEMORY_MOUNT, forMs: number): void {
  disk.setFull(mount, true)
  cluster.world.at(forMs, 'room again', () => disk.setFull(mount, false))
}

/** A bit of a file flips behind everybody's back. */
function corrupt(disk: SimDisk, { target }: PlannedFault): void {
  const paths = disk.files.paths(DISK_MOUNT).filter((path) => path.includes('/blobs/'))
  const path = paths[target % Math.max(1, paths.length)]
  if (path === undefined) return
  const bytes = disk.files.contents(path)
  const at = target % Math.max(1, bytes.length)
  if (bytes.length > 0) bytes[at] = (bytes[at] as number) ^ 0x10
}

function retire(cluster: SimCluster, fault: PlannedFault): void {
  if (cluster.living.length < 2) return
  const name = pick(cluster.living, fault)?.parts.name ?? ''
  pick(
    cluster.clients.filter((client) => !client.ended),
    fault,
  )?.ask('retire-workers', { workers: [name], closeWorkers: true })
}

/** Somebody wants data elsewhere. */
function move(cluster: SimCluster, kind: 'replicate' | 'rebalance', fault: PlannedFault): void {
  const client = pick(
    cluster.clients.filter((each) => !each.ended),
    fault,
  )
  const keys = [...(client?.held.values() ?? [])].flatMap(({ state }) =>
    state.outcome.status === 'finished' ? [state.key] : [],
  )
  const some = keys.filter((_, n) => (fault.target >> (n % 10)) % 2 === 0)
  if (kind === 'rebalance') return client?.ask(kind, fault.target % 3 === 0 ? { keys: some } : {})
  client?.ask(kind, { keys: some, branchingFactor: 2, ...(fault.target % 2 === 0 && { n: 1 + (fault.target % 3) }) })
}

function closeWorker(cluster: SimCluster, nanny: SimNanny | undefined): void {
  if (cluster.living.length > 1) nanny?.close('the operator closed it')
}

function vanish(cluster: SimCluster, fault: PlannedFault): void {
  pick(
    cluster.clients.filter((client) => !client.ended),
    fault,
  )?.vanish()
}
