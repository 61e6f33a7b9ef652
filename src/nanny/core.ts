// The nanny's decisions: when its worker process is started, restarted, ended and given up. Pure: the shell (nanny.ts)
// spawns, signals, waits and talks, and tells what happened as events.
//
// N1. `SpawnWorker` only when no worker process lives and the executor groups of the last one are gone (`GroupsGone`).
// N2. Every wait ends: starting, closing, stopping and waiting each have a timer armed; the shell always answers
//     `ReapGroups` and `PurgeDirectories`.
// N3. `Finish` is the last effect; nothing follows it.
// N4. The scheduler is told of every death once, when the process and its executors are gone, and `worker-gone` last.
// N5. A timer counts only if its serial is the one that was set last under its name.
// N6. A worker that is ended for its memory (`terminate`) is started again, but not for ever: the third time within
//     a minute it is given up.
// N7. A worker whose lifetime is over is retired first, for a minute at most; then it is closed, or started again. It is no
//     death: nothing is counted.
// N8. Directories are kept over a restart (stored values are adopted), except when the scheduler asked for a wipe.

import type { RunId, WorkerId } from '../base/ids.ts'
import { invariant } from '../base/invariant.ts'
import { formatBytes } from '../base/units.ts'
import type { NannyToScheduler } from '../protocol/nanny.ts'

export interface NannyLimits {
  /** More deaths than this within the window, and the nanny gives up. */
  readonly restartLimit: number
  readonly restartWindowMs: number
  readonly startTimeoutMs: number
  /** Give up when no scheduler was reached for this long. */
  readonly deathTimeoutMs: number | null
  /** How long a worker process works; null = for ever. */
  readonly lifetimeMs: number | null
  /** Whether another one follows then. */
  readonly lifetimeRestart: boolean
}

export type TimerName = 'start' | 'escalate' | 'backoff' | 'death' | 'lifetime'

export type NannyEvent = { readonly now: number } & (
  | { readonly kind: 'StartAsked' }
  | { readonly kind: 'SchedulerConnected' }
  | { readonly kind: 'SchedulerLost' }
  /** The scheduler cannot be joined, now or later (wrong token, other protocol version). */
  | { readonly kind: 'SchedulerRefused'; readonly message: string }
  | { readonly kind: 'WorkerStarted'; readonly address: string }
  | { readonly kind: 'WorkerStartFailed'; readonly message: string }
  | { readonly kind: 'WorkerClosing'; readonly reason: string }
  /** The process is dead and everything it sent was read. `running`: what its status page named. */
  | {
      readonly kind: 'WorkerExited'
      readonly code: number | null
      readonly signal: string | null
      readonly running: readonly RunId[]
      readonly stderrTail: string
    }
  /** Private memory of the worker's processes stayed above `terminate`; both in bytes. */
  | { readonly kind: 'MemoryExceeded'; readonly privateBytes: number; readonly terminateBytes: number }
  /** What the scheduler made of `RetireWorker`. False: values that only the worker has are still there. */
  | { readonly kind: 'WorkerRetired'; readonly retired: boolean }
  | { readonly kind: 'GroupsGone' }
  | { readonly kind: 'DirectoriesPurged' }
  /** `force`: kill at once instead of asking. */
  | { readonly kind: 'CloseAsked'; readonly reason: string; readonly force: boolean }
  /** End the worker and start it again with empty directories. */
  | { readonly kind: 'RestartAsked'; readonly generation: number }
  /** End the worker, which does not answer any more, and start it again with what is in its directories. */
  /** `blameless`: a user wants a new process; nothing is wrong with this one. */
  | { readonly kind: 'KillAsked'; readonly reason: string; readonly blameless?: boolean }
  | { readonly kind: 'TimerDue'; readonly name: TimerName; readonly serial: number }
)

export type NannyEffect =
  | { readonly kind: 'SpawnWorker'; readonly incarnation: number; readonly restarts: number }
  | { readonly kind: 'AskWorkerToClose'; readonly reason: string }
  | { readonly kind: 'SignalWorker'; readonly signal: 'SIGTERM' | 'SIGKILL' }
  /** Kill the executor groups of the dead worker and wait until they are gone. */
  | { readonly kind: 'ReapGroups' }
  | { readonly kind: 'PurgeDirectories' }
  | { readonly kind: 'SetTimer'; readonly name: TimerName; readonly serial: number; readonly delayMs: number }
  | { readonly kind: 'ClearTimer'; readonly name: TimerName }
  | { readonly kind: 'TellScheduler'; readonly message: NannyToScheduler }
  | { readonly kind: 'ReportStarted'; readonly address: string }
  /** No more tasks for it, and its values to others. Answered by `WorkerRetired`. */
  | { readonly kind: 'RetireWorker'; readonly timeoutMs: number }
  | { readonly kind: 'Finish'; readonly reason: string; readonly failed: boolean }

/** What follows when the worker process is gone. */
type Next =
  | { readonly kind: 'restart' }
  | { readonly kind: 'wipe' }
  | { readonly kind: 'end'; readonly reason: string; readonly failed: boolean }

type Exit = Pick<Extract<NannyEvent, { kind: 'WorkerExited' }>, 'code' | 'signal' | 'running'>

export type NannyPhase =
  | { readonly kind: 'idle' }
  /** Waiting for the first contact with the scheduler. */
  | { readonly kind: 'joining' }
  /** `failure`: the worker said why it cannot start, and is about to exit. */
  | { readonly kind: 'starting'; readonly failure: string | null }
  | { readonly kind: 'running'; readonly address: string }
  /** The worker ends by its own decision. */
  | { readonly kind: 'closing'; readonly reason: string }
  /** The nanny ends the worker: `rung` is the last thing it tried. */
  | { readonly kind: 'stopping'; readonly rung: 'asked' | 'terminated' | 'killed'; readonly next: Next }
  /** The worker is dead, its executors are being ended. */
  | { readonly kind: 'reaping'; readonly exit: Exit; readonly next: Next }
  | { readonly kind: 'purging'; readonly next: Next }
  /** Before the next start. */
  | { readonly kind: 'waiting' }
  | { readonly kind: 'gone'; readonly reason: string }

export interface NannyState {
  readonly workerId: WorkerId
  readonly limits: NannyLimits
  phase: NannyPhase
  /** Of the current or last process; 0 before the first. Grows with every start. */
  incarnation: number
  /** Starts after deaths that nobody asked for. */
  restarts: number
  /** When unasked-for deaths happened, ascending; older ones than the window are dropped at each death. */
  deaths: number[]
  /** When the worker was ended for its memory, ascending, within the last minute. */
  terminations: number[]
  /** Deaths before readiness since the last start that succeeded. Restarts that never get ready are not told by `deaths` alone: they may be slow. */
  failedStarts: number
  hasStartedOnce: boolean
  connected: boolean
  /** Armed timers: serial by name. */
  readonly timers: Map<TimerName, number>
  lastSerial: number
}

/** The worker is on its way out and no other follows. */
export function isLeaving({ phase }: NannyState): boolean {
  if (phase.kind === 'closing' || phase.kind === 'gone') return true
  return 'next' in phase && phase.next.kind === 'end'
}

export const CLOSE_GRACE_MS = 3_000
export const TERMINATE_GRACE_MS = 1_000
/** A killed process that is still there after this is stuck in the kernel: the nanny ends without it. */
export const KILL_GRACE_MS = 10_000
/** How long a worker that closes by itself may take. */
export const CLOSING_GRACE_MS = 30_000
/** N7. A task that takes longer is run again elsewhere. */
export const RETIRE_GRACE_MS = 60_000
/** N6. */
export const TERMINATIONS_MAX = 3
export const TERMINATIONS_WINDOW_MS = 60_000
export const BACKOFF_MIN_MS = 200
/** Well within `scheduler.worker-grace`: the scheduler waits that long for the values that the worker has in files. */
export const BACKOFF_MAX_MS = 5_000

export function createNannyState(workerId: WorkerId, limits: NannyLimits): NannyState {
  return {
    workerId,
    limits,
    phase: { kind: 'idle' },
    incarnation: 0,
    restarts: 0,
    deaths: [],
    terminations: [],
    failedStarts: 0,
    hasStartedOnce: false,
    connected: false,
    timers: new Map(),
    lastSerial: 0,
  }
}

type Handlers = {
  readonly [K in NannyEvent['kind']]: (state: NannyState, event: Extract<NannyEvent, { kind: K }>) => NannyEffect[]
}

/** Takes one event, changes the state, and says what to do. */
export function stepNanny(state: NannyState, event: NannyEvent): NannyEffect[] {
  if (state.phase.kind === 'gone') return []
  const handle = handlers[event.kind] as (state: NannyState, event: NannyEvent) => NannyEffect[]
  return handle(state, event)
}

const handlers: Handlers = {
  StartAsked(state) {
    if (state.phase.kind !== 'idle') return []
    state.phase = { kind: 'joining' }
    return state.connected ? spawn(state) : armDeathTimer(state)
  },

  SchedulerConnected(state) {
    state.connected = true
    const cleared = clearTimer(state, 'death')
    return state.phase.kind === 'joining' ? [...cleared, ...spawn(state)] : cleared
  },

  SchedulerLost(state) {
    if (!state.connected) return []
    state.connected = false
    return state.phase.kind === 'idle' ? [] : armDeathTimer(state)
  },

  SchedulerRefused(state, { message }) {
    return state.phase.kind === 'joining' ? finish(state, message, true) : []
  },

  WorkerStarted(state, { address }) {
    if (state.phase.kind !== 'starting') return []
    state.phase = { kind: 'running', address }
    state.failedStarts = 0
    state.hasStartedOnce = true
    const { lifetimeMs } = state.limits
    const lifetime = lifetimeMs === null ? [] : setTimer(state, 'lifetime', lifetimeMs)
    return [...clearTimer(state, 'start'), ...lifetime, { kind: 'ReportStarted', address }]
  },

  WorkerStartFailed(state, { message }) {
    if (state.phase.kind !== 'starting') return []
    state.phase = { kind: 'starting', failure: message }
    return setTimer(state, 'start', TERMINATE_GRACE_MS)
  },

  WorkerClosing(state, { reason }) {
    if (state.phase.kind !== 'starting' && state.phase.kind !== 'running') return []
    state.phase = { kind: 'closing', reason }
    return [
      ...clearTimer(state, 'start'),
      ...clearTimer(state, 'lifetime'),
      ...setTimer(state, 'escalate', CLOSING_GRACE_MS),
    ]
  },

  WorkerExited(state, event) {
    const { phase } = state
    const exit = { code: event.code, signal: event.signal, running: event.running }
    switch (phase.kind) {
      case 'starting':
      case 'running':
        return reap(state, exit, nextAfterDeath(state, event.now, describeDeath(phase, event)))
      case 'closing':
        return reap(state, exit, { kind: 'end', reason: phase.reason, failed: false })
      case 'stopping':
        return reap(state, exit, phase.next)
      default:
        return []
    }
  },

  MemoryExceeded(state, { now, privateBytes, terminateBytes }) {
    if (state.phase.kind !== 'running') return []
    state.terminations = [...state.terminations.filter((at) => at > now - TERMINATIONS_WINDOW_MS), now]
    const fields = { privateBytes, terminateBytes, terminations: state.terminations.length }
    const { workerId } = state
    const told: NannyEffect = {
      kind: 'TellScheduler',
      message: { op: 'log-event', workerId, topic: 'worker-restart-memory', fields },
    }
    return [told, ...stop(state, 'killed', nextAfterTermination(state, privateBytes, terminateBytes))]
  },

  WorkerRetired(state, { retired }) {
    if (state.phase.kind !== 'running') return []
    if (!state.limits.lifetimeRestart)
      return stop(state, 'asked', { kind: 'end', reason: 'its lifetime is over', failed: false })
    // What is in its files is served again when nobody else could take it.
    return retired ? stop(state, 'asked', { kind: 'wipe' }) : stop(state, 'killed', { kind: 'restart' })
  },

  GroupsGone(state) {
    if (state.phase.kind !== 'reaping') return []
    const { exit, next } = state.phase
    const told = tellExit(state, exit, next)
    if (next.kind === 'end') return [told, ...finish(state, next.reason, next.failed)]
    if (next.kind === 'wipe') return [told, ...purge(state)]
    state.phase = { kind: 'waiting' }
    return [told, ...setTimer(state, 'backoff', backoffMs(state.deaths.length))]
  },

  DirectoriesPurged(state) {
    if (state.phase.kind !== 'purging') return []
    const { next } = state.phase
    return next.kind === 'end' ? finish(state, next.reason, next.failed) : spawn(state)
  },

  CloseAsked(state, { reason, force }) {
    return end(state, { kind: 'end', reason, failed: false }, force)
  },

  RestartAsked(state) {
    const { phase } = state
    switch (phase.kind) {
      case 'starting':
      case 'running':
        return [...clearTimer(state, 'start'), ...stop(state, 'killed', { kind: 'wipe' })]
      case 'stopping':
      case 'reaping':
        if (phase.next.kind === 'restart') state.phase = { ...phase, next: { kind: 'wipe' } }
        return []
      case 'waiting':
        return [...clearTimer(state, 'backoff'), ...purge(state)]
      default:
        return []
    }
  },

  KillAsked(state, { now, reason, blameless = false }) {
    // In every other phase its process is on its way out, or young.
    if (state.phase.kind !== 'running') return []
    return stop(state, 'killed', blameless ? { kind: 'restart' } : nextAfterDeath(state, now, reason))
  },

  TimerDue(state, { now, name, serial }) {
    if (state.timers.get(name) !== serial) return []
    state.timers.delete(name)
    switch (name) {
      case 'start':
        return startTimedOut(state, now)
      case 'escalate':
        return escalate(state)
      case 'backoff':
        state.restarts++
        return spawn(state)
      case 'lifetime':
        return state.phase.kind === 'running' ? [{ kind: 'RetireWorker', timeoutMs: RETIRE_GRACE_MS }] : []
      case 'death': {
        const reason = `no scheduler was reached for ${String((state.limits.deathTimeoutMs ?? 0) / 1000)} s (death timeout)`
        return end(state, { kind: 'end', reason, failed: true }, false)
      }
    }
  },
}

function spawn(state: NannyState): NannyEffect[] {
  state.phase = { kind: 'starting', failure: null }
  state.incarnation++
  const { incarnation, restarts } = state
  return [{ kind: 'SpawnWorker', incarnation, restarts }, ...setTimer(state, 'start', state.limits.startTimeoutMs)]
}

/** Ends the worker by whatever it takes, in turn: asking, SIGTERM, SIGKILL. */
function stop(state: NannyState, rung: 'asked' | 'terminated' | 'killed', next: Next): NannyEffect[] {
  state.phase = { kind: 'stopping', rung, next }
  const cleared = clearTimer(state, 'lifetime')
  switch (rung) {
    case 'asked': {
      const reason = next.kind === 'end' ? next.reason : 'the worker is restarted'
      return [...cleared, { kind: 'AskWorkerToClose', reason }, ...setTimer(state, 'escalate', CLOSE_GRACE_MS)]
    }
    case 'terminated':
      return [
        ...cleared,
        { kind: 'SignalWorker', signal: 'SIGTERM' },
        ...setTimer(state, 'escalate', TERMINATE_GRACE_MS),
      ]
    case 'killed':
      return [...cleared, { kind: 'SignalWorker', signal: 'SIGKILL' }, ...setTimer(state, 'escalate', KILL_GRACE_MS)]
  }
}

function escalate(state: NannyState): NannyEffect[] {
  const { phase } = state
  if (phase.kind === 'closing') return stop(state, 'terminated', { kind: 'end', reason: phase.reason, failed: false })
  invariant(phase.kind === 'stopping', () => `an escalation is due in phase ${phase.kind}`)
  if (phase.rung === 'asked') return stop(state, 'terminated', phase.next)
  if (phase.rung === 'terminated') return stop(state, 'killed', phase.next)
  const reason = `the worker process did not end within ${KILL_GRACE_MS / 1000} s of SIGKILL`
  return reap(state, { code: null, signal: null, running: [] }, { kind: 'end', reason, failed: true })
}

function startTimedOut(state: NannyState, now: number): NannyEffect[] {
  invariant(state.phase.kind === 'starting', () => `a start timed out in phase ${state.phase.kind}`)
  const { failure } = state.phase
  // Without a scheduler the worker waits for it; that has its own timeout.
  if (failure === null && !state.connected) return setTimer(state, 'start', state.limits.startTimeoutMs)
  const cause = failure ?? `it was not ready within ${state.limits.startTimeoutMs / 1000} s of its start`
  return stop(state, 'killed', nextAfterDeath(state, now, cause))
}

/** Closing, whatever the nanny is doing. */
function end(state: NannyState, next: Extract<Next, { kind: 'end' }>, force: boolean): NannyEffect[] {
  const { phase } = state
  switch (phase.kind) {
    case 'idle':
    case 'joining':
    case 'waiting':
      return finish(state, next.reason, next.failed)
    case 'starting':
    case 'running':
      return [...clearTimer(state, 'start'), ...stop(state, force ? 'killed' : 'asked', next)]
    case 'closing':
      return force ? stop(state, 'killed', { kind: 'end', reason: phase.reason, failed: false }) : []
    case 'stopping': {
      const wanted = phase.next.kind === 'end' ? phase.next : next
      if (force && phase.rung !== 'killed') return stop(state, 'killed', wanted)
      state.phase = { ...phase, next: wanted }
      return []
    }
    case 'reaping':
    case 'purging':
      if (phase.next.kind !== 'end') state.phase = { ...phase, next }
      return []
    case 'gone':
      return []
  }
}

function reap(state: NannyState, exit: Exit, next: Next): NannyEffect[] {
  state.phase = { kind: 'reaping', exit, next }
  const cleared = (['start', 'escalate', 'lifetime'] as const).flatMap((name) => clearTimer(state, name))
  return [...cleared, { kind: 'ReapGroups' }]
}

function purge(state: NannyState): NannyEffect[] {
  state.phase = { kind: 'purging', next: { kind: 'wipe' } }
  return [{ kind: 'PurgeDirectories' }]
}

function finish(state: NannyState, reason: string, failed: boolean): NannyEffect[] {
  const cleared = [...state.timers.keys()].flatMap((name) => clearTimer(state, name))
  state.phase = { kind: 'gone', reason }
  const told: NannyEffect = {
    kind: 'TellScheduler',
    message: { op: 'worker-gone', workerId: state.workerId, reason },
  }
  return [...cleared, told, { kind: 'Finish', reason, failed }]
}

/** Counts a death that nobody asked for, and decides whether the worker is started again. */
function nextAfterDeath(state: NannyState, now: number, cause: string): Next {
  const { restartLimit, restartWindowMs } = state.limits
  if (!state.hasStartedOnce) return { kind: 'end', reason: `the worker could not be started: ${cause}`, failed: true }
  if (state.phase.kind === 'starting') state.failedStarts++
  state.deaths = [...state.deaths.filter((at) => at > now - restartWindowMs), now]
  if (state.failedStarts > restartLimit) {
    const reason = `the worker could not be started again in ${state.failedStarts} attempts; the last: ${cause}`
    return { kind: 'end', reason, failed: true }
  }
  if (state.deaths.length <= restartLimit) return { kind: 'restart' }
  const reason = `the worker died ${state.deaths.length} times within ${restartWindowMs / 1000} s; the last time: ${cause}`
  return { kind: 'end', reason, failed: true }
}

function nextAfterTermination(state: NannyState, privateBytes: number, terminateBytes: number): Next {
  const times = state.terminations.length
  if (times < TERMINATIONS_MAX) return { kind: 'restart' }
  const reason = `the worker was ended ${times} times within ${TERMINATIONS_WINDOW_MS / 1000} s for its private memory (${formatBytes(privateBytes)}, worker.memory.terminate is at ${formatBytes(terminateBytes)}); give it a higher memory limit or fewer threads`
  return { kind: 'end', reason, failed: true }
}

function describeDeath(phase: NannyPhase, exit: Extract<NannyEvent, { kind: 'WorkerExited' }>): string {
  if (phase.kind === 'starting' && phase.failure !== null) return phase.failure
  const how = exit.signal === null ? `it exited with code ${String(exit.code)}` : `it was ended by ${exit.signal}`
  const tail = exit.stderrTail.trim()
  return tail === '' ? how : `${how}; the end of its stderr:\n${tail}`
}

function tellExit(state: NannyState, exit: Exit, next: Next): NannyEffect {
  const message: NannyToScheduler = {
    op: 'worker-exited',
    workerId: state.workerId,
    incarnation: state.incarnation,
    code: exit.code,
    signal: exit.signal,
    running: exit.running,
    restarting: next.kind !== 'end',
  }
  return { kind: 'TellScheduler', message }
}

function backoffMs(deaths: number): number {
  return Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.max(0, deaths - 1))
}

function armDeathTimer(state: NannyState): NannyEffect[] {
  return state.limits.deathTimeoutMs === null ? [] : setTimer(state, 'death', state.limits.deathTimeoutMs)
}

function setTimer(state: NannyState, name: TimerName, delayMs: number): NannyEffect[] {
  const serial = ++state.lastSerial
  state.timers.set(name, serial)
  return [{ kind: 'SetTimer', name, serial, delayMs }]
}

function clearTimer(state: NannyState, name: TimerName): NannyEffect[] {
  return state.timers.delete(name) ? [{ kind: 'ClearTimer', name }] : []
}

const TIMER_OF_PHASE: Readonly<Record<NannyPhase['kind'], TimerName | null>> = {
  idle: null,
  joining: null,
  starting: 'start',
  running: null,
  closing: 'escalate',
  stopping: 'escalate',
  reaping: null,
  purging: null,
  waiting: 'backoff',
  gone: null,
}

/** A sentence per broken invariant. */
export function checkNannyInvariants(state: NannyState): string[] {
  const broken: string[] = []
  const { phase, timers, limits } = state
  for (const name of ['start', 'escalate', 'backoff'] as const) {
    const wanted = TIMER_OF_PHASE[phase.kind] === name
    if (timers.has(name) !== wanted)
      broken.push(`timer ${name} is ${wanted ? 'not armed' : 'armed'} in phase ${phase.kind} (N2)`)
  }
  const wantsDeath =
    limits.deathTimeoutMs !== null && !state.connected && phase.kind !== 'idle' && phase.kind !== 'gone'
  if (timers.has('lifetime') && phase.kind !== 'running') broken.push(`timer lifetime is armed in phase ${phase.kind}`)
  if (timers.has('death') && !wantsDeath) broken.push(`timer death is armed in phase ${phase.kind} (N2)`)
  if ([...timers.values()].some((serial) => serial > state.lastSerial))
    broken.push('a timer has a serial from the future (N5)')
  if (state.restarts > Math.max(0, state.incarnation - 1))
    broken.push(`${state.restarts} restarts with incarnation ${state.incarnation}`)
  const hasProcess = phase.kind !== 'idle' && phase.kind !== 'joining' && phase.kind !== 'gone'
  if (hasProcess && state.incarnation === 0) broken.push(`phase ${phase.kind} before the first start`)
  if (state.deaths.some((at, i) => at < (state.deaths[i - 1] ?? at))) broken.push('deaths are out of order')
  if (state.deaths.length > limits.restartLimit + 1) broken.push(`${state.deaths.length} deaths are remembered`)
  return broken
}
