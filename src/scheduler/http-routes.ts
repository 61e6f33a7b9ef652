// What the scheduler answers over HTTP: snapshots of its state, taken when they are asked for.

import { taskKey } from '../base/ids.ts'
import {
  byLabel,
  type HttpRoute,
  json,
  memoryMetrics,
  type Metric,
  metricsReply,
  notFound,
  processMetrics,
  text,
} from '../http/index.ts'
import type { SchedulerInfo } from '../protocol/scheduler-client.ts'
import type { SchedulerState } from './core/state.ts'
import * as view from './core/view.ts'

export function schedulerRoutes(state: SchedulerState, info: () => SchedulerInfo): Readonly<Record<string, HttpRoute>> {
  return {
    '/health': () => text('ok\n'),
    '/metrics': () => metricsReply(schedulerMetrics(state, info())),
    '/api/v1/workers': () => json(info().workers),
    '/api/v1/memory': () => json(view.memory(state)),
    '/api/v1/tasks/': (key) => {
      const found = view.taskInfo(state, taskKey(key))
      return found === null ? notFound(`task ${key}`) : json(found)
    },
  }
}

function schedulerMetrics(state: SchedulerState, { workers, clients, tasks }: SchedulerInfo): Metric[] {
  const counts = view.taskCounts(state)
  const statuses: Record<string, number> = {}
  for (const { status } of Object.values(workers)) statuses[status] = (statuses[status] ?? 0) + 1
  const perWorker = (of: (worker: SchedulerInfo['workers'][string]) => number): Metric['samples'] =>
    Object.entries(workers).map(([worker, each]) => ({ labels: { worker }, value: of(each) }))
  return [
    { name: 'scheduler_tasks', help: 'Tasks by state.', type: 'gauge', samples: byLabel('state', tasks) },
    { name: 'scheduler_workers', help: 'Workers by status.', type: 'gauge', samples: byLabel('status', statuses) },
    { name: 'scheduler_clients', help: 'Connected clients.', type: 'gauge', samples: [{ value: clients }] },
    {
      name: 'scheduler_runs_total',
      help: 'Runs that finished or failed, by the name of the function.',
      type: 'counter',
      samples: byLabel(
        'name',
        mapValues(counts, ({ runs }) => runs),
      ),
    },
    {
      name: 'scheduler_stored_bytes',
      help: 'Sizes of the results in memory or on disk, by the name of the function.',
      type: 'gauge',
      samples: byLabel(
        'name',
        mapValues(counts, ({ nbytes }) => nbytes),
      ),
    },
    ...memoryMetrics(view.memory(state).workers),
    {
      name: 'worker_process_memory_peak_bytes',
      help: 'Highest process memory since the first start of the worker.',
      type: 'gauge',
      samples: perWorker((worker) => worker.processPeak),
    },
    {
      name: 'worker_spilled_bytes_total',
      help: 'Bytes written to the disk tier since the first start of the worker.',
      type: 'counter',
      samples: perWorker((worker) => worker.spilledTotal),
    },
    {
      name: 'worker_restarts_total',
      help: 'How often the nanny started the worker again.',
      type: 'counter',
      samples: perWorker((worker) => worker.restarts),
    },
    {
      name: 'worker_processing_tasks',
      help: 'Tasks assigned to the worker.',
      type: 'gauge',
      samples: perWorker((worker) => worker.processing),
    },
    ...processMetrics(),
  ]
}

function mapValues<V>(entries: Readonly<Record<string, V>>, of: (value: V) => number): Record<string, number> {
  return Object.fromEntries(Object.entries(entries).map(([name, value]) => [name, of(value)]))
}
