// The memory measures as metrics: one wording for the scheduler, which tells them of all workers, and for a worker.

import type { MemoryMeasures } from '../protocol/scheduler-client.ts'
import { type Metric, samplesOf } from './prometheus.ts'

/** Measures by worker address. */
export function memoryMetrics(workers: Readonly<Record<string, MemoryMeasures>>): Metric[] {
  return [
    {
      name: 'worker_memory_bytes',
      help: 'managed, unmanaged and unmanaged_recent add up to process memory; spilled is on disk.',
      type: 'gauge',
      samples: Object.entries(workers).flatMap(([worker, { managed, unmanaged, unmanagedRecent, spilled }]) => [
        { labels: { worker, type: 'managed' }, value: managed },
        { labels: { worker, type: 'unmanaged' }, value: unmanaged },
        { labels: { worker, type: 'unmanaged_recent' }, value: unmanagedRecent },
        { labels: { worker, type: 'spilled' }, value: spilled },
      ]),
    },
    {
      name: 'worker_memory_limit_bytes',
      help: 'Memory limit of the worker; 0 = none.',
      type: 'gauge',
      samples: samplesOf('worker', workers, (memory) => memory.limit),
    },
    {
      name: 'worker_process_memory_bytes',
      help: 'Private memory of the worker and its executors, and its values in RAM.',
      type: 'gauge',
      samples: samplesOf('worker', workers, (memory) => memory.process),
    },
  ]
}
