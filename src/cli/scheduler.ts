import type { Command } from 'commander'
import { DEFAULT_HTTP_ADDRESS } from '../http/address.ts'
import { addPreloadOption, addSecurityOptions, duration, portNumber, type SecurityOptions } from './shared-options.ts'

export interface SchedulerCliOptions extends SecurityOptions {
  readonly host: string
  readonly port: number
  readonly schedulerFile?: string
  readonly idleTimeout?: number
  readonly dashboardAddress: string
  readonly preload: readonly string[]
}

export function addSchedulerCommand(program: Command): void {
  const command = program
    .command('scheduler')
    .description('start a scheduler, which workers and clients connect to')
    .option('--host <host>', 'interface to listen on; beyond 127.0.0.1 every connection is encrypted', '127.0.0.1')
    .option('--port <port>', 'port to listen on, 0 for any', portNumber('--port'), 8786)
    .option(
      '--dashboard-address <address>',
      'serve HTTP (health, metrics, JSON) at HOST:PORT, :PORT for loopback, or none',
      DEFAULT_HTTP_ADDRESS,
    )
    .option('--scheduler-file <file>', 'write the address here, for workers and clients to find')
    .option(
      '--idle-timeout <duration>',
      'close after this long without anything to do, such as "10 min"',
      duration('--idle-timeout'),
    )
  addPreloadOption(command)
  addSecurityOptions(command).action(async (options: SchedulerCliOptions) => {
    const { runScheduler } = await import('./actions/scheduler.ts')
    await runScheduler(command, options)
  })
}
