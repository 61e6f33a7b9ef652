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
  samplesOf,
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
    '/api/v1/datasets': () => json(view.datasets(state)),
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
  return [
    { name: 'scheduler_tasks', help: 'Tasks by state.', type: 'gauge', samples: byLabel('state', tasks) },
    { name: 'scheduler_workers', help: 'Workers by status.', type: 'gauge', samples: byLabel('status', statuses) },
    { name: 'scheduler_clients', help: 'Connected clients.', type: 'gauge', samples: [{ value: clients }] },
    {
      name: 'scheduler_runs_total',
      help: 'Runs that finished or failed, by the name of the function.',
      type: 'counter',
      samples: samplesOf('name', counts, ({ runs }) => runs),
    },
    {
      name: 'scheduler_stored_bytes',
      help: 'Sizes of the results in memory or on disk, by the name of the function.',
      type: 'gauge',
      samples: samplesOf('name', counts, ({ nbytes }) => nbytes),
    },
    ...memoryMetrics(view.memory(state).workers),
    {
      name: 'worker_process_memory_peak_bytes',
      help: 'Highest process memory since the first start of the worker.',
      type: 'gauge',
      samples: samplesOf('worker', workers, (worker) => worker.processPeak),
    },
    {
      name: 'worker_spilled_bytes_total',
      help: 'Bytes written to the disk tier since the first start of the worker.',
      type: 'counter',
      samples: samplesOf('worker', workers, (worker) => worker.spilledTotal),
    },
    {
      name: 'worker_restarts_total',
      help: 'How often the nanny started the worker again.',
      type: 'counter',
      samples: samplesOf('worker', workers, (worker) => worker.restarts),
    },
    {
      name: 'worker_processing_tasks',
      help: 'Tasks assigned to the worker.',
      type: 'gauge',
      samples: samplesOf('worker', workers, (worker) => worker.processing),
    },
    ...processMetrics(),
  ]
}
