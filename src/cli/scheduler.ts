import { writeFile, rename } from 'node:fs/promises'
import type { Command } from 'commander'
import { parseDurationMs } from '../base/units.ts'
import { Scheduler } from '../scheduler/index.ts'
import {
  addSecurityOptions,
  credentialsOf,
  endSignal,
  prepare,
  wholeNumber,
  type SecurityOptions,
} from './shared-options.ts'
import { preload } from './preload.ts'

interface SchedulerCliOptions extends SecurityOptions {
  readonly host: string
  readonly port: number
  readonly schedulerFile?: string
  readonly idleTimeout?: string
  readonly preload: readonly string[]
}

export function addSchedulerCommand(program: Command): void {
  const command = program
    .command('scheduler')
    .description('start a scheduler, which workers and clients connect to')
    .option('--host <host>', 'interface to listen on; beyond 127.0.0.1 every connection is encrypted', '127.0.0.1')
    .option('--port <port>', 'port to listen on, 0 for any', wholeNumber('--port', 0), 8786)
    .option('--scheduler-file <file>', 'write the address here, for workers and clients to find')
    .option('--idle-timeout <duration>', 'close after this long without anything to do, such as "10 min"')
    .option(
      '--preload <module>',
      'import this module first (may be repeated)',
      (value: string, all: readonly string[]) => [...all, value],
      [],
    )
  addSecurityOptions(command).action(async (options: SchedulerCliOptions) => await runScheduler(command, options))
}

async function runScheduler(command: Command, options: SchedulerCliOptions): Promise<void> {
  const config = prepare(command, 'info')
  await preload(options.preload)
  const credentials = await credentialsOf(options, { create: true })
  const idleTimeoutMs = options.idleTimeout === undefined ? undefined : parseDurationMs(options.idleTimeout)
  const scheduler = new Scheduler({
    host: options.host,
    port: options.port,
    scheme: credentials.tls === null ? 'tcp' : 'tls',
    credentials,
    config: idleTimeoutMs === undefined ? config : config.with({ 'scheduler.idle-timeout': idleTimeoutMs }),
  })
  const ended = endSignal()
  await scheduler.start()
  if (options.schedulerFile !== undefined) await writeSchedulerFile(options.schedulerFile, scheduler)
  process.stderr.write(`Scheduler at ${scheduler.address}\nStart workers with: plimsoll worker ${scheduler.address}\n`)
  const cause = await Promise.race([ended, scheduler.closed.then(() => 'idle')])
  await scheduler.close(`the scheduler was ended (${cause})`)
}

/** Written whole and renamed, so that a waiting worker never reads half of it. */
async function writeSchedulerFile(file: string, scheduler: Scheduler): Promise<void> {
  const part = `${file}.${process.pid}.part`
  await writeFile(part, `${JSON.stringify({ address: scheduler.address, id: scheduler.id })}\n`, { mode: 0o600 })
  await rename(part, file)
}
