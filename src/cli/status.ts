import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import { formatBytes, parseDurationMs } from '../base/units.ts'
import { connect } from '../comm/index.ts'
import { formatTable } from '../diagnostics/table.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import type {
  PrefixCounts,
  SchedulerInfo,
  SchedulerRequests,
  SchedulerToClient,
  ClientToScheduler,
} from '../protocol/scheduler-client.ts'
import { Connection } from '../rpc/index.ts'
import { schedulerAddress } from './scheduler-address.ts'
import { addSecurityOptions, credentialsOf, prepare, type SecurityOptions } from './shared-options.ts'

interface StatusCliOptions extends SecurityOptions {
  readonly watch?: boolean
  readonly json?: boolean
  readonly interval: string
  readonly timeout: string
  readonly schedulerFile?: string
}

type NoRequests = Record<never, never>
type Probe = Connection<SchedulerToClient, ClientToScheduler, NoRequests, SchedulerRequests>

interface Status {
  readonly info: SchedulerInfo
  readonly prefixes: Readonly<Record<string, PrefixCounts>>
}

export function addStatusCommand(program: Command): void {
  const command = program
    .command('status')
    .description('show the workers, tasks and memory of a cluster')
    .argument('[address]', 'address of the scheduler, such as tcp://127.0.0.1:8786')
    .option('--watch', 'show it again and again until Ctrl-C')
    .option('--interval <duration>', 'how often with --watch', '1s')
    .option('--json', 'as one JSON object (one per line with --watch)')
    .option('--timeout <duration>', 'how long to try to reach the scheduler', '5s')
    .option('--scheduler-file <file>', 'read the address from here')
  addSecurityOptions(command).action(
    async (address: string | undefined, options: StatusCliOptions) => await showStatus(command, address, options),
  )
}

async function showStatus(
  command: Command,
  givenAddress: string | undefined,
  options: StatusCliOptions,
): Promise<void> {
  prepare(command, 'warning')
  const timeoutMs = parseDurationMs(options.timeout)
  const intervalMs = parseDurationMs(options.interval)
  const address = await schedulerAddress(givenAddress, options.schedulerFile, timeoutMs)
  const credentials = await credentialsOf(options, { create: false })
  const comm = await connect(address, { role: 'probe', credentials, protocolVersion: PROTOCOL_VERSION, timeoutMs })
  const probe: Probe = new Connection(comm)
  try {
    for (;;) {
      const status = await ask(probe, timeoutMs)
      print(status, options)
      if (options.watch !== true) return
      await delay(intervalMs)
    }
  } finally {
    await probe.close()
  }
}

async function ask(probe: Probe, timeoutMs: number): Promise<Status> {
  const info = await probe.request('identity', {}, { timeoutMs })
  const { prefixes } = await probe.request('task-counts', {}, { timeoutMs })
  return { info, prefixes }
}

function print(status: Status, options: StatusCliOptions): void {
  if (options.json === true) {
    process.stdout.write(
      `${JSON.stringify({ ...status.info, prefixes: status.prefixes }, null, options.watch === true ? undefined : 2)}\n`,
    )
    return
  }
  const clear = options.watch === true && process.stdout.isTTY ? '\x1b[2J\x1b[H' : ''
  process.stdout.write(`${clear}${formatStatus(status)}\n`)
}

function formatStatus({ info, prefixes }: Status): string {
  const workers = Object.values(info.workers)
  const lines = [`Scheduler ${info.address}, pid ${info.pid}: ${workers.length} workers, ${info.clients} clients`, '']
  if (workers.length > 0) lines.push(workerTable(info), '')
  const names = Object.keys(prefixes)
  lines.push(names.length === 0 ? 'No tasks.' : taskTable(prefixes))
  return lines.join('\n')
}

function workerTable(info: SchedulerInfo): string {
  const headers = [
    'worker',
    'address',
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
  ]
  const rows = Object.values(info.workers).map((worker) => [
    worker.name,
    worker.address,
    worker.status,
    String(worker.nthreads),
    String(worker.processing),
    String(worker.stored),
    worker.memoryLimit === 0 ? 'none' : formatBytes(worker.memoryLimit),
    formatBytes(worker.memory.process),
    formatBytes(worker.memory.managed),
    formatBytes(worker.memory.unmanaged),
    formatBytes(worker.memory.unmanagedRecent),
    formatBytes(worker.memory.spilled),
    String(worker.restarts),
  ])
  return formatTable(headers, rows)
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
