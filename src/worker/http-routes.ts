// What a worker answers over HTTP: its own measures, taken when they are asked for. Loaded only when HTTP is served.

import {
  byLabel,
  type HttpRoute,
  json,
  memoryMetrics,
  type Metric,
  metricsReply,
  processMetrics,
  text,
} from '../http/index.ts'
import type { MemoryMeasures, WorkerStatus } from '../protocol/scheduler-client.ts'
import type { StoreTotals, Tier } from '../store/store.ts'

export { HttpServer } from '../http/index.ts'

export interface WorkerView {
  readonly address: string
  memory(): MemoryMeasures
  totals(): StoreTotals
  /** Stored keys by tier. */
  keyCounts(): Readonly<Record<Tier, number>>
  /** Executions under way. */
  running(): number
  status(): WorkerStatus
}

export function workerRoutes(worker: WorkerView): Readonly<Record<string, HttpRoute>> {
  const memory = () => ({ [worker.address]: worker.memory() })
  return {
    '/health': () => text('ok\n'),
    '/metrics': () => metricsReply(workerMetrics(worker, memory())),
    '/api/v1/memory': () => json({ workers: memory() }),
  }
}

function workerMetrics(worker: WorkerView, memory: Readonly<Record<string, MemoryMeasures>>): Metric[] {
  const { inline, memory: inFiles, disk, reserved, spilledTotal, deadMapped, spare } = worker.totals()
  return [
    ...memoryMetrics(memory),
    {
      name: 'worker_store_bytes',
      help: 'What the store holds by tier; reserved, dead_mapped and spare are parts of the memory tier that hold no value.',
      type: 'gauge',
      samples: byLabel('tier', { inline, memory: inFiles, disk, reserved, dead_mapped: deadMapped, spare }),
    },
    {
      name: 'worker_store_keys',
      help: 'Stored keys by the tier that they are read from.',
      type: 'gauge',
      samples: byLabel('tier', worker.keyCounts()),
    },
    {
      name: 'worker_store_spilled_bytes_total',
      help: 'Bytes written to the disk tier by this process.',
      type: 'counter',
      samples: [{ value: spilledTotal }],
    },
    {
      name: 'worker_running_tasks',
      help: 'Tasks that executors run now.',
      type: 'gauge',
      samples: [{ value: worker.running() }],
    },
    {
      name: 'worker_paused',
      help: '1 while the worker starts no task.',
      type: 'gauge',
      samples: [{ value: worker.status() === 'paused' ? 1 : 0 }],
    },
    ...processMetrics(),
  ]
}
