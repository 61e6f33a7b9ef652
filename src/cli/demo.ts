import type { Command } from 'commander'
import { wholeNumber } from './shared-options.ts'

export interface FlightsCliOptions {
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
    const { demoFlights } = await import('./actions/demo.ts')
    await demoFlights(flights, options)
  })
  for (const sub of demo.commands) sub.exitOverride()
}
