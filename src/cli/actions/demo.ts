import type { Command } from 'commander'
import { parseMemoryLimit } from '../../config/index.ts'
import { runFlights } from '../../demo/flights/flights.ts'
import type { FlightsCliOptions } from '../demo.ts'
import { EndSignals } from './end-signals.ts'
import { prepare } from './prepare.ts'

export async function demoFlights(command: Command, options: FlightsCliOptions): Promise<void> {
  const config = prepare(command, 'warning')
  const interrupt = new AbortController()
  const signals = new EndSignals()
  void signals.first.then(() => interrupt.abort())
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
}
