// A worker core under a hand-moved clock, for short tests: events go in by small words. Every step checks all invariants.

import { functionId, runId, taskKey, workerId } from '../../base/ids.ts'
import type { SchedulerToWorker } from '../../protocol/scheduler-worker.ts'
import type { InputWire } from '../../protocol/tasks.ts'
import type { WorkerEffect } from './effects.ts'
import type { WorkerEvent } from './events.ts'
import { type CoreSettings, createState } from './state.ts'
import { step } from './step.ts'

export const NO_BYTES = new Uint8Array(0)
export const FN = functionId('f')

type Event = WorkerEvent extends infer E ? (E extends WorkerEvent ? Omit<E, 'now'> : never) : never
type ComputeTask = Extract<SchedulerToWorker, { op: 'compute-task' }>

/** A core with a clock and a few abbreviations. */
export class Core {
  now = 0
  readonly state
  constructor(settings: Partial<CoreSettings> = {}) {
    this.state = createState({
      workerId: workerId('me'),
      address: 'tcp://10.0.0.1:1000',
      nthreads: 1,
      resources: {},
      incomingBytesLimit: Number.POSITIVE_INFINITY,
      messageBytesLimit: 50_000_000,
      incomingCountLimit: 50,
      logLength: 1000,
      seed: 1,
      validate: true,
      ...settings,
    })
  }
  send(event: Event): WorkerEffect[] {
    return step(this.state, { now: this.now, ...event } as WorkerEvent)
  }
  receive(...messages: SchedulerToWorker[]): WorkerEffect[] {
    return this.send({ kind: 'MessagesReceived', messages })
  }
  compute(key: string, run: number, options: Partial<ComputeTask> = {}): WorkerEffect[] {
    return this.receive(computeTask(key, run, options))
  }
  /** Runs an assigned task to its end. */
  finish(run: number, nbytes = 10): WorkerEffect[] {
    return [
      ...this.send({ kind: 'RunFinished', runId: runId(run), durationMs: 2, depth: 1 }),
      ...this.send({ kind: 'ValueStored', runId: runId(run), nbytes, type: 'number', durable: false }),
    ]
  }
  hold(key: string, run: number, nbytes = 10): void {
    this.send({ kind: 'ValueScattered', value: stored(key, run, nbytes) })
  }
  stateOf(key: string): string {
    return this.state.tasks.get(taskKey(key))?.state ?? 'unknown'
  }
}

export const stored = (key: string, run: number, nbytes = 10) => ({
  key: taskKey(key),
  runId: runId(run),
  nbytes,
  type: 'number',
  durable: true,
})
export const holder = (id: string) => ({ id: workerId(id), address: `tcp://${id}:1` })
export const input = (key: string, run: number, peers: string[], nbytes = 10): InputWire => ({
  key: taskKey(key),
  runId: runId(run),
  nbytes,
  holders: peers.map(holder),
})

export function computeTask(key: string, run: number, options: Partial<ComputeTask> = {}): ComputeTask {
  return {
    op: 'compute-task',
    key: taskKey(key),
    runId: runId(run),
    name: 'f',
    priority: [0, 0, run],
    fn: FN,
    fnBytes: NO_BYTES,
    args: NO_BYTES,
    inputs: [],
    options: {},
    attempt: 1,
    ...options,
  }
}

export const order = (key: string, run: number, inputs: string[] = []) => ({
  runId: run,
  key,
  name: 'f',
  fn: 'f',
  fnBytes: NO_BYTES,
  args: NO_BYTES,
  inputs,
  options: {},
  attempt: 1,
  memory: { reservedBytes: 0, heapBytes: 0, resultBytes: 0 },
})
export const sent = (...messages: object[]) => ({ kind: 'SendToScheduler', messages })
export const kinds = (effects: readonly WorkerEffect[]) => effects.map((effect) => effect.kind)
export const messagesOf = (effects: readonly WorkerEffect[]) =>
  effects.flatMap((effect) => (effect.kind === 'SendToScheduler' ? effect.messages : []))
export const gathered = (effects: readonly WorkerEffect[]) =>
  effects.flatMap((effect) =>
    effect.kind === 'GatherFromPeer'
      ? [{ peer: effect.peer as string, keys: effect.keys.map((key) => key.key as string) }]
      : [],
  )
export const executed = (effects: readonly WorkerEffect[]) =>
  effects.flatMap((effect) => (effect.kind === 'Execute' ? effect.runs.map((run) => run.key as string) : []))
