// What a scheduler is started with, resolved into plain values. Nothing else in src/scheduler reads the configuration.

import type { Credentials } from '../comm/index.ts'
import type { Config } from '../config/index.ts'
import type { HttpAddress } from '../http/index.ts'
import type { MemoryPolicy } from './core/memory-policy.ts'
import type { Policy } from './core/memory-manager.ts'
import type { CoreOptions } from './core/state.ts'

export interface SchedulerOptions {
  /** Interface to listen on; for `inproc` a name, or empty for a free one. */
  readonly host: string
  /** 0 = any free port. */
  readonly port: number
  /** Default: tcp. */
  readonly scheme?: 'tcp' | 'tls' | 'inproc'
  readonly credentials: Credentials
  readonly config: Config
  /** Where HTTP is served; null or left out: nowhere. */
  readonly http?: HttpAddress | null
  /** Policies of the active memory manager, besides those that the configuration names. */
  readonly policies?: readonly MemoryPolicy[]
}

export function coreOptions(config: Config, policies: readonly Policy[]): CoreOptions {
  const pause = config.get('worker.memory.pause')
  const target = config.get('worker.memory.target')
  return {
    saturation: config.get('scheduler.worker-saturation'),
    allowedFailures: config.get('scheduler.allowed-failures'),
    allowedOomFailures: config.get('scheduler.allowed-oom-failures'),
    workerGraceMs: config.get('scheduler.worker-grace'),
    connectionGraceMs: config.get('scheduler.connection-grace'),
    clientGraceMs: config.get('scheduler.client-grace'),
    pauseFraction: pause === false ? Infinity : pause,
    targetFraction: target === false ? Infinity : target,
    unknownDurationMs: config.get('scheduler.unknown-task-duration'),
    defaultDurationsMs: config.get('scheduler.default-task-durations'),
    unknownResultBytes: config.get('scheduler.default-data-size'),
    bandwidth: config.get('scheduler.bandwidth'),
    noWorkersTimeoutMs: config.get('scheduler.no-workers-timeout'),
    idleTimeoutMs: config.get('scheduler.idle-timeout'),
    workerTtlMs: config.get('scheduler.worker-ttl'),
    workStealing: config.get('scheduler.work-stealing'),
    workStealingIntervalMs: config.get('scheduler.work-stealing-interval'),
    rebalance: {
      measure: config.get('worker.memory.rebalance.measure'),
      senderMin: config.get('worker.memory.rebalance.sender-min'),
      recipientMax: config.get('worker.memory.rebalance.recipient-max'),
      gap: config.get('worker.memory.rebalance.sender-recipient-gap'),
    },
    memoryManager: {
      start: config.get('scheduler.active-memory-manager.start'),
      intervalMs: config.get('scheduler.active-memory-manager.interval'),
      measure: config.get('scheduler.active-memory-manager.measure'),
      policies,
    },
    storyLength: config.get('scheduler.story-length'),
    validate: config.get('scheduler.validate'),
  }
}
