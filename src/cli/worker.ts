import type { Command } from 'commander'
import {
  addPreloadOption,
  addSecurityOptions,
  duration,
  portNumber,
  type SecurityOptions,
  wholeNumber,
} from './shared-options.ts'

export interface WorkerCliOptions extends SecurityOptions {
  readonly nthreads?: number
  readonly nworkers: number
  readonly memoryLimit: string
  readonly localDirectory?: string
  readonly memoryDirectory?: string
  readonly name?: string
  readonly resources?: string
  readonly nanny: boolean
  readonly deathTimeout?: number
  readonly lifetime?: number
  readonly lifetimeStagger?: number
  readonly lifetimeRestart?: boolean
  readonly preload: readonly string[]
  readonly host?: string
  readonly workerPort: number
  readonly schedulerFile?: string
  readonly dashboardAddress: string
}

export function addWorkerCommand(program: Command): void {
  const command = program
    .command('worker')
    .description('start workers that run tasks for a scheduler')
    .argument('[address]', 'address of the scheduler, such as tcp://127.0.0.1:8786')
    .option(
      '--nthreads <n>',
      'tasks that each worker runs at a time (default: cores / workers)',
      wholeNumber('--nthreads', 1),
    )
    .option('--nworkers <n>', 'workers to start', wholeNumber('--nworkers', 1), 1)
    .option('--memory-limit <limit>', 'per worker: auto, "4 GiB", 0.5 (of this machine), or 0 for none', 'auto')
    .option('--local-directory <dir>', 'where spilled values go (default: the system’s temporary directory)')
    .option('--memory-directory <dir>', 'RAM file system for values in memory (default: /dev/shm)')
    .option('--name <name>', 'name of the worker, for people and for `workers:` of tasks')
    .option('--resources <list>', 'abstract resources, such as "GPU=1,licences=2"')
    .option('--no-nanny', 'run the worker in this process: nothing restarts it')
    .option(
      '--death-timeout <duration>',
      'end when no scheduler was reached for this long, such as 60s',
      duration('--death-timeout'),
    )
    .option(
      '--lifetime <duration>',
      'hand values over and end after this long, such as "12 hours"',
      duration('--lifetime'),
    )
    .option(
      '--lifetime-stagger <duration>',
      'up to this much sooner or later, at random',
      duration('--lifetime-stagger'),
    )
    .option('--lifetime-restart', 'start again at the end of the lifetime')
    .option('--host <host>', 'interface to listen on (default: the one that reaches the scheduler)')
    .option('--worker-port <port>', 'port to listen on, 0 for any', portNumber('--worker-port'), 0)
    .option(
      '--dashboard-address <address>',
      'serve HTTP (health, metrics, JSON) at HOST:PORT, :PORT for loopback, 0 for any port, or none',
      ':0',
    )
    .option('--scheduler-file <file>', 'read the address from here, waiting until it appears')
  addPreloadOption(command)
  addSecurityOptions(command).action(async (address: string | undefined, options: WorkerCliOptions) => {
    const { runWorkers } = await import('./actions/worker.ts')
    await runWorkers(command, address, options)
  })
}
