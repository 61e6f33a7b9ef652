import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { defaultTokenFile, isLoopback, parseAddress } from '../../comm/index.ts'
import { parseHttpAddress } from '../../http/address.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'
import { Scheduler } from '../../scheduler/index.ts'
import type { SchedulerCliOptions } from '../scheduler.ts'
import { EndSignals } from './end-signals.ts'
import { preload } from './preload.ts'
import { credentialsOf, prepare } from './prepare.ts'

export async function runScheduler(command: Command, options: SchedulerCliOptions): Promise<void> {
  const config = prepare(command, 'info')
  await preload(options.preload)
  const credentials = await credentialsOf(options, { create: true })
  const { idleTimeout: idleTimeoutMs } = options
  const scheduler = new Scheduler({
    host: options.host,
    port: options.port,
    scheme: credentials.tls === null ? 'tcp' : 'tls',
    credentials,
    http: parseHttpAddress(options.dashboardAddress),
    config: idleTimeoutMs === undefined ? config : config.with({ 'scheduler.idle-timeout': idleTimeoutMs }),
  })
  const signals = new EndSignals()
  await listen(scheduler, options)
  if (options.schedulerFile !== undefined) await writeSchedulerFile(options.schedulerFile, scheduler)
  process.stderr.write(`${welcome(scheduler, options)}\n`)
  const cause = await Promise.race([signals.first, scheduler.closed.then(() => 'idle')])
  await Promise.race([scheduler.close(`the scheduler was ended (${cause})`), signals.second])
  if (options.schedulerFile !== undefined) await removeSchedulerFile(options.schedulerFile, scheduler)
  process.exit(0)
}

async function listen(scheduler: Scheduler, { host, port }: SchedulerCliOptions): Promise<void> {
  try {
    await scheduler.start()
  } catch (error) {
    const cause = (error as Error).cause as NodeJS.ErrnoException | undefined
    if (cause?.code !== 'EADDRINUSE') throw error
    throw new PlimsollError(
      'CONNECT_FAILED',
      `port ${port} of ${host} is taken, perhaps by another scheduler: choose one with --port, or any free one with --port 0`,
      { host, port },
      { cause: error },
    )
  }
}

function welcome({ address, dashboardLink }: Scheduler, options: SchedulerCliOptions): string {
  const lines = [`Scheduler at ${address}`, `Start workers with: plimsoll worker ${address}`]
  if (dashboardLink !== null) lines.push(`Metrics at ${dashboardLink}/metrics`)
  if (!isLoopback(parseAddress(address).host) && options.tlsCaFile === undefined && !process.env['PLIMSOLL_TOKEN'])
    lines.push(
      `Other machines need the token: ${options.tokenFile ?? (process.env['PLIMSOLL_TOKEN_FILE'] || defaultTokenFile())}`,
    )
  return lines.join('\n')
}

/** Written whole and renamed, so that a waiting worker never reads half of it. */
async function writeSchedulerFile(file: string, scheduler: Scheduler): Promise<void> {
  const part = `${file}.${process.pid}.part`
  try {
    await writeFile(part, `${JSON.stringify({ address: scheduler.address, id: scheduler.id })}\n`, { mode: 0o600 })
    await rename(part, file)
  } catch (error) {
    const reason = `cannot write --scheduler-file: ${(error as Error).message}`
    await rm(part, { force: true }).catch(() => {})
    // Listening, it would keep the process alive without anybody to tell it to end.
    await scheduler.close(reason)
    throw new PlimsollError('INVALID_ARGUMENT', reason, { file })
  }
}

/** Whoever reads it later would wait for a scheduler that is gone. Not when another scheduler has written it since. */
async function removeSchedulerFile(file: string, scheduler: Scheduler): Promise<void> {
  const text = await readFile(file, 'utf8').catch(() => '')
  if (text.includes(scheduler.id)) await rm(file, { force: true })
}
