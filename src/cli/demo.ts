import type { Command } from 'commander'
import { parseMemoryLimit } from '../config/index.ts'
import { runFlights } from '../demo/flights/flights.ts'
import { prepare, wholeNumber } from './shared-options.ts'

interface FlightsCliOptions {
  readonly workers: number
  readonly nthreads: number
  readonly memoryLimit: string
  readonly keep?: boolean
}

export function addDemoCommand(program: Command): void {
  const demo = program.command('demo').description('run an example that ships with Plimsoll')
  const flights = demo
    .command('flights')
    .description(
      '3 million flight records on workers that cannot hold what they compute: it spills, and the answers are checked',
    )
    .option('--workers <n>', 'workers, each with its own nanny', wholeNumber('--workers', 1), 2)
    .option('--nthreads <n>', 'tasks that each worker runs at a time', wholeNumber('--nthreads', 1), 1)
    .option('--memory-limit <size>', 'memory limit of each worker', '448 MiB')
    .option('--keep', 'stay up when done, to look around')
  flights.action(async (options: FlightsCliOptions) => {
    const config = prepare(flights, 'warning')
    const interrupt = new AbortController()
    const onSignal = (): void => interrupt.abort()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
    const target = config.get('worker.memory.target')
    process.exitCode = await runFlights({
      workers: options.workers,
      nthreads: options.nthreads,
      memoryLimit: parseMemoryLimit(options.memoryLimit, { nthreads: options.nthreads, nworkers: options.workers }),
      target: target === false ? 1 : target,
      keep: options.keep === true,
      signal: interrupt.signal,
      output: process.stdout,
    })
  })
  for (const sub of demo.commands) sub.exitOverride()
}
