import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import { formatBytes } from '../../base/units.ts'
import { connect } from '../../comm/index.ts'
import { formatTable } from '../../diagnostics/table.ts'
import { isErrorCode, PlimsollError } from '../../errors/plimsoll-error.ts'
import { PROTOCOL_VERSION } from '../../protocol/version.ts'
import type {
  MemoryMeasures,
  PrefixCounts,
  SchedulerInfo,
  SchedulerRequests,
  SchedulerToClient,
  ClientToScheduler,
  WorkerInfo,
} from '../../protocol/scheduler-client.ts'
import { Connection } from '../../rpc/index.ts'
import type { StatusCliOptions } from '../status.ts'
import { EndSignals } from './end-signals.ts'
import { credentialsOf, prepare } from './prepare.ts'
import { schedulerAddress } from './scheduler-address.ts'
import { Screen } from './screen.ts'

type NoRequests = Record<never, never>
type Probe = Connection<SchedulerToClient, ClientToScheduler, NoRequests, SchedulerRequests>

interface Status {
  readonly info: SchedulerInfo
  readonly prefixes: Readonly<Record<string, PrefixCounts>>
}

export async function showStatus(
  command: Command,
  givenAddress: string | undefined,
  options: StatusCliOptions,
): Promise<void> {
  prepare(command, 'warning')
  const { timeout: timeoutMs, interval: intervalMs } = options
  const address = await schedulerAddress(givenAddress, options.schedulerFile, timeoutMs)
  const credentials = await credentialsOf(options, { create: false })
  const comm = await connect(address, { role: 'probe', credentials, protocolVersion: PROTOCOL_VERSION, timeoutMs })
  const probe: Probe = new Connection(comm)
  try {
    if (options.watch === true) await watch(probe, timeoutMs, intervalMs, options)
    else process.stdout.write(`${textOf(await ask(probe, timeoutMs), options)}\n`)
  } catch (error) {
    if (!isErrorCode(error, 'COMM_CLOSED')) throw error
    throw new PlimsollError('COMM_CLOSED', `the scheduler at ${address} has gone`, { address }, { cause: error })
  } finally {
    await probe.close()
  }
}

async function watch(probe: Probe, timeoutMs: number, intervalMs: number, options: StatusCliOptions): Promise<void> {
  const ended = new AbortController()
  void new EndSignals().first.then(() => ended.abort())
  const screen = options.json !== true && process.stdout.isTTY ? new Screen(process.stdout) : null
  try {
    while (!ended.signal.aborted) {
      const text = textOf(await ask(probe, timeoutMs), options)
      if (screen === null) process.stdout.write(`${text}\n`)
      else screen.show(text)
      await delay(intervalMs, undefined, { signal: ended.signal }).catch(() => {})
    }
  } finally {
    screen?.restore()
  }
}

async function ask(probe: Probe, timeoutMs: number): Promise<Status> {
  const info = await probe.request('identity', {}, { timeoutMs })
  const { prefixes } = await probe.request('task-counts', {}, { timeoutMs })
  return { info, prefixes }
}

function textOf(status: Status, options: StatusCliOptions): string {
  if (options.json !== true) return formatStatus(status)
  const object = { ...status.info, prefixes: status.prefixes }
  return JSON.stringify(object, null, options.watch === true ? undefined : 2)
}

function formatStatus({ info, prefixes }: Status): string {
  const workers = Object.values(info.workers)
  const lines = [
    `Scheduler ${info.address}, pid ${info.pid}: ${counted(workers.length, 'worker')}, ${counted(info.clients, 'client')}`,
    '',
  ]
  if (workers.length > 0) lines.push(workerTable(info), '')
  const names = Object.keys(prefixes)
  lines.push(names.length === 0 ? 'No tasks.' : taskTable(prefixes))
  return lines.join('\n')
}

const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`

/** The address comes last: a narrow terminal may cut it off. */
function workerTable(info: SchedulerInfo): string {
  const headers = [
    'worker',
    'status',
    'threads',
    'tasks',
    'stored',
    'limit',
    'process',
    'managed',
    'unmanaged',
    'recent',
    'spilled',
    'restarts',
    'address',
  ]
  const rows = Object.values(info.workers).map((worker) => [
    worker.name,
    worker.status,
    String(worker.nthreads),
    String(worker.processing),
    String(worker.stored),
    worker.memoryLimit === 0 ? 'none' : formatBytes(worker.memoryLimit),
    ...measureCells(worker.memory),
    String(worker.restarts),
    worker.address,
  ])
  if (rows.length > 1) rows.push(totalRow(info))
  return formatTable(headers, rows)
}

function totalRow({ workers, memory }: SchedulerInfo): string[] {
  const sum = (of: (worker: WorkerInfo) => number): string =>
    String(Object.values(workers).reduce((total, worker) => total + of(worker), 0))
  return [
    'total',
    '',
    sum((worker) => worker.nthreads),
    sum((worker) => worker.processing),
    sum((worker) => worker.stored),
    memory.limit === 0 ? 'none' : formatBytes(memory.limit),
    ...measureCells(memory),
    sum((worker) => worker.restarts),
    '',
  ]
}

function measureCells({ process, managed, unmanaged, unmanagedRecent, spilled }: MemoryMeasures): string[] {
  return [process, managed, unmanaged, unmanagedRecent, spilled].map(formatBytes)
}

function taskTable(prefixes: Readonly<Record<string, PrefixCounts>>): string {
  const headers = ['task', 'waiting', 'no worker', 'queued', 'processing', 'memory', 'erred', 'runs', 'mean ms', 'size']
  const rows = Object.entries(prefixes).map(([name, counts]) => [
    name,
    ...(['waiting', 'no-worker', 'queued', 'processing', 'memory', 'erred', 'runs'] as const).map((state) =>
      String(counts[state]),
    ),
    counts.meanDurationMs.toFixed(1),
    formatBytes(counts.nbytes),
  ])
  return formatTable(headers, rows)
}
