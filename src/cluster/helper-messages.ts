// The program and its cluster's helper process, over Node's IPC channel. The channel's end is the signal that the other
// side is gone: the helper then ends everything.

import type { ErrorCode } from '../errors/codes.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import type { WorkerCommand } from '../nanny/child.ts'
import type { AdaptiveOptions } from './adaptive.ts'
import type { ClusterPlan, ClusterScheduler, ClusterWorker } from './backend.ts'

export type ProgramToHelper =
  /** First message; `worker` is what starts each of the plan's workers. */
  | { readonly op: 'start'; readonly plan: ClusterPlan; readonly worker: WorkerCommand }
  | { readonly op: 'scale'; readonly id: number; readonly n: number }
  | { readonly op: 'adapt'; readonly options: AdaptiveOptions }
  | { readonly op: 'close'; readonly reason: string }

export type HelperToProgram =
  /** The scheduler does; workers are still starting. */
  | { readonly op: 'listening'; readonly address: string }
  | { readonly op: 'started'; readonly scheduler: ClusterScheduler }
  | { readonly op: 'start-failed'; readonly error: WireFailure }
  | { readonly op: 'workers'; readonly workers: readonly ClusterWorker[] }
  | { readonly op: 'scaled'; readonly id: number; readonly error: WireFailure | null }
  /** Last message. */
  | { readonly op: 'closed'; readonly reason: string }

export interface WireFailure {
  readonly code: ErrorCode
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

export function toWireFailure(thrown: unknown): WireFailure {
  if (thrown instanceof PlimsollError) return { code: thrown.code, message: thrown.message, fields: thrown.fields }
  return { code: 'INTERNAL', message: toError(thrown).stack ?? toError(thrown).message, fields: {} }
}

export function fromWireFailure({ code, message, fields }: WireFailure): PlimsollError {
  return new PlimsollError(code, message, fields)
}
