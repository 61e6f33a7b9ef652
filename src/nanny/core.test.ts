import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runId, workerId } from '../base/ids.ts'
import {
  checkNannyInvariants,
  createNannyState,
  type NannyEffect,
  type NannyEvent,
  type NannyLimits,
  type NannyPhase,
  type NannyState,
  stepNanny,
  TERMINATIONS_WINDOW_MS,
  type TimerName,
} from './core.ts'

const LIMITS: NannyLimits = {
  restartLimit: 3,
  restartWindowMs: 60_000,
  startTimeoutMs: 60_000,
  deathTimeoutMs: null,
  lifetimeMs: null,
  lifetimeRestart: false,
}
type Kind = NannyEvent['kind']
type Fields<K extends Kind> = Omit<Extract<NannyEvent, { kind: K }>, 'now' | 'kind'>

/** A nanny under test: every step is followed by the check of invariants. */
class Harness {
  readonly state: NannyState
  now = 0

  constructor(limits: Partial<NannyLimits> = {}) {
    this.state = createNannyState(workerId('w'), { ...LIMITS, ...limits })
  }

  step<K extends Kind>(kind: K, fields: Fields<K>): NannyEffect[] {
    const effects = stepNanny(this.state, { kind, now: this.now, ...fields } as NannyEvent)
    expect(checkNannyInvariants(this.state)).toEqual([])
    return effects
  }

  exited(fields: Partial<Fields<'WorkerExited'>> = {}): NannyEffect[] {
    return this.step('WorkerExited', { code: null, signal: 'SIGKILL', running: [], stderrTail: '', ...fields })
  }

  due(name: TimerName): NannyEffect[] {
    const serial = this.state.timers.get(name)
    expect(serial, `timer ${name} is armed`).toBeDefined()
    return this.step('TimerDue', { name, serial: serial ?? 0 })
  }

  joining(): this {
    this.step('StartAsked', {})
    return this
  }

  starting(): this {
    this.joining().step('SchedulerConnected', {})
    return this
  }

  running(): this {
    this.starting().step('WorkerStarted', { address: 'tcp://a' })
    return this
  }

  /** A death and what follows it, up to readiness where the nanny restarts. */
  dieAndRecover(): NannyEffect[] {
    this.exited({ code: 1, signal: null, stderrTail: 'Error: boom\n' })
    const effects = this.step('GroupsGone', {})
    if (this.state.phase.kind === 'waiting') {
      this.due('backoff')
      this.step('WorkerStarted', { address: 'tcp://a' })
    }
    return effects
  }
}

/** Effects in short: `+x` sets timer x, `-x` clears it, lower case is a message to the scheduler. */
function short(effects: readonly NannyEffect[]): string {
  const one = (effect: NannyEffect): string => {
    switch (effect.kind) {
      case 'SignalWorker':
        return effect.signal
      case 'SetTimer':
        return `+${effect.name}`
      case 'ClearTimer':
        return `-${effect.name}`
      case 'TellScheduler':
        return effect.message.op
      case 'Finish':
        return effect.failed ? 'Finish(failed)' : 'Finish'
      default:
        return effect.kind
    }
  }
  return effects.map(one).join(' ')
}

function phaseName(phase: NannyPhase): string {
  if (phase.kind === 'stopping') return `stopping/${phase.rung}/${phase.next.kind}`
  if (phase.kind === 'reaping' || phase.kind === 'purging') return `${phase.kind}/${phase.next.kind}`
  return phase.kind === 'starting' && phase.failure !== null ? 'starting/failed' : phase.kind
}

const reapingRestart = (): Harness => {
  const h = new Harness().running()
  h.exited()
  return h
}
const asked = (): Harness => {
  const h = new Harness().running()
  h.step('CloseAsked', { reason: 'done', force: false })
  return h
}

/** A nanny in each phase, brought there by events. */
const PHASES: Readonly<Record<string, () => Harness>> = {
  idle: () => new Harness(),
  joining: () => new Harness().joining(),
  starting: () => new Harness().starting(),
  'starting/failed': () => {
    const h = new Harness().starting()
    h.step('WorkerStartFailed', { message: 'bad limit' })
    return h
  },
  running: () => new Harness().running(),
  closing: () => {
    const h = new Harness().running()
    h.step('WorkerClosing', { reason: 'retired' })
    return h
  },
  'stopping/asked/end': asked,
  'stopping/terminated/end': () => {
    const h = asked()
    h.due('escalate')
    return h
  },
  'stopping/killed/end': () => {
    const h = asked()
    h.due('escalate')
    h.due('escalate')
    return h
  },
  'stopping/killed/restart': () => {
    const h = reapingRestart()
    h.step('GroupsGone', {})
    h.due('backoff')
    h.due('start')
    return h
  },
  'stopping/killed/wipe': () => {
    const h = new Harness().running()
    h.step('RestartAsked', { generation: 2 })
    return h
  },
  'reaping/restart': reapingRestart,
  'reaping/wipe': () => {
    const h = reapingRestart()
    h.step('RestartAsked', { generation: 2 })
    return h
  },
  'reaping/end': () => {
    const h = asked()
    h.exited({ code: 0, signal: null })
    return h
  },
  'purging/wipe': () => {
    const h = reapingRestart()
    h.step('RestartAsked', { generation: 2 })
    h.step('GroupsGone', {})
    return h
  },
  'purging/end': () => {
    const h = reapingRestart()
    h.step('RestartAsked', { generation: 2 })
    h.step('GroupsGone', {})
    h.step('CloseAsked', { reason: 'done', force: false })
    return h
  },
  waiting: () => {
    const h = reapingRestart()
    h.step('GroupsGone', {})
    return h
  },
  gone: () => {
    const h = new Harness()
    h.step('CloseAsked', { reason: 'done', force: false })
    return h
  },
}

/** Every kind of event; a timer's stands for the one that the phase has armed, if any. */
const EVENTS: Readonly<Record<string, (h: Harness) => NannyEffect[]>> = {
  StartAsked: (h) => h.step('StartAsked', {}),
  SchedulerConnected: (h) => h.step('SchedulerConnected', {}),
  SchedulerLost: (h) => h.step('SchedulerLost', {}),
  SchedulerRefused: (h) => h.step('SchedulerRefused', { message: 'wrong token' }),
  WorkerStarted: (h) => h.step('WorkerStarted', { address: 'tcp://b' }),
  WorkerStartFailed: (h) => h.step('WorkerStartFailed', { message: 'bad limit' }),
  WorkerClosing: (h) => h.step('WorkerClosing', { reason: 'retired' }),
  WorkerExited: (h) => h.exited(),
  MemoryExceeded: (h) => h.step('MemoryExceeded', { privateBytes: 96, terminateBytes: 95 }),
  WorkerRetired: (h) => h.step('WorkerRetired', { retired: true }),
  GroupsGone: (h) => h.step('GroupsGone', {}),
  DirectoriesPurged: (h) => h.step('DirectoriesPurged', {}),
  CloseAsked: (h) => h.step('CloseAsked', { reason: 'done', force: false }),
  'CloseAsked(force)': (h) => h.step('CloseAsked', { reason: 'done', force: true }),
  RestartAsked: (h) => h.step('RestartAsked', { generation: 2 }),
  KillAsked: (h) => h.step('KillAsked', { reason: 'silent' }),
  TimerDue: (h) => {
    const [name] = [...h.state.timers.keys()]
    return name === undefined ? h.step('TimerDue', { name: 'start', serial: 1 }) : h.due(name)
  },
}

/** Everything that does something, of all phases and all events; the pairs that are not here change nothing. */
const TABLE = `
idle | StartAsked -> joining
idle | CloseAsked -> gone: worker-gone Finish
idle | CloseAsked(force) -> gone: worker-gone Finish
joining | SchedulerConnected -> starting: SpawnWorker +start
joining | SchedulerRefused -> gone: worker-gone Finish(failed)
joining | CloseAsked -> gone: worker-gone Finish
joining | CloseAsked(force) -> gone: worker-gone Finish
starting | WorkerStarted -> running: -start ReportStarted
starting | WorkerStartFailed -> starting/failed: +start
starting | WorkerClosing -> closing: -start +escalate
starting | WorkerExited -> reaping/end: -start ReapGroups
starting | CloseAsked -> stopping/asked/end: -start AskWorkerToClose +escalate
starting | CloseAsked(force) -> stopping/killed/end: -start SIGKILL +escalate
starting | RestartAsked -> stopping/killed/wipe: -start SIGKILL +escalate
starting | TimerDue -> stopping/killed/end: SIGKILL +escalate
starting/failed | WorkerStarted -> running: -start ReportStarted
starting/failed | WorkerStartFailed -> starting/failed: +start
starting/failed | WorkerClosing -> closing: -start +escalate
starting/failed | WorkerExited -> reaping/end: -start ReapGroups
starting/failed | CloseAsked -> stopping/asked/end: -start AskWorkerToClose +escalate
starting/failed | CloseAsked(force) -> stopping/killed/end: -start SIGKILL +escalate
starting/failed | RestartAsked -> stopping/killed/wipe: -start SIGKILL +escalate
starting/failed | TimerDue -> stopping/killed/end: SIGKILL +escalate
running | WorkerClosing -> closing: +escalate
running | WorkerExited -> reaping/restart: ReapGroups
running | MemoryExceeded -> stopping/killed/restart: log-event SIGKILL +escalate
running | WorkerRetired -> stopping/asked/end: AskWorkerToClose +escalate
running | CloseAsked -> stopping/asked/end: AskWorkerToClose +escalate
running | CloseAsked(force) -> stopping/killed/end: SIGKILL +escalate
running | RestartAsked -> stopping/killed/wipe: SIGKILL +escalate
running | KillAsked -> stopping/killed/restart: SIGKILL +escalate
closing | WorkerExited -> reaping/end: -escalate ReapGroups
closing | CloseAsked(force) -> stopping/killed/end: SIGKILL +escalate
closing | TimerDue -> stopping/terminated/end: SIGTERM +escalate
stopping/asked/end | WorkerExited -> reaping/end: -escalate ReapGroups
stopping/asked/end | CloseAsked(force) -> stopping/killed/end: SIGKILL +escalate
stopping/asked/end | TimerDue -> stopping/terminated/end: SIGTERM +escalate
stopping/terminated/end | WorkerExited -> reaping/end: -escalate ReapGroups
stopping/terminated/end | CloseAsked(force) -> stopping/killed/end: SIGKILL +escalate
stopping/terminated/end | TimerDue -> stopping/killed/end: SIGKILL +escalate
stopping/killed/end | WorkerExited -> reaping/end: -escalate ReapGroups
stopping/killed/end | TimerDue -> reaping/end: ReapGroups
stopping/killed/restart | WorkerExited -> reaping/restart: -escalate ReapGroups
stopping/killed/restart | CloseAsked -> stopping/killed/end
stopping/killed/restart | CloseAsked(force) -> stopping/killed/end
stopping/killed/restart | RestartAsked -> stopping/killed/wipe
stopping/killed/restart | TimerDue -> reaping/end: ReapGroups
stopping/killed/wipe | WorkerExited -> reaping/wipe: -escalate ReapGroups
stopping/killed/wipe | CloseAsked -> stopping/killed/end
stopping/killed/wipe | CloseAsked(force) -> stopping/killed/end
stopping/killed/wipe | TimerDue -> reaping/end: ReapGroups
reaping/restart | GroupsGone -> waiting: worker-exited +backoff
reaping/restart | CloseAsked -> reaping/end
reaping/restart | CloseAsked(force) -> reaping/end
reaping/restart | RestartAsked -> reaping/wipe
reaping/wipe | GroupsGone -> purging/wipe: worker-exited PurgeDirectories
reaping/wipe | CloseAsked -> reaping/end
reaping/wipe | CloseAsked(force) -> reaping/end
reaping/end | GroupsGone -> gone: worker-exited worker-gone Finish
purging/wipe | DirectoriesPurged -> starting: SpawnWorker +start
purging/wipe | CloseAsked -> purging/end
purging/wipe | CloseAsked(force) -> purging/end
purging/end | DirectoriesPurged -> gone: worker-gone Finish
waiting | CloseAsked -> gone: -backoff worker-gone Finish
waiting | CloseAsked(force) -> gone: -backoff worker-gone Finish
waiting | RestartAsked -> purging/wipe: -backoff PurgeDirectories
waiting | TimerDue -> starting: SpawnWorker +start
`

describe('transitions', () => {
  it('are exactly these, for every phase and every event', () => {
    const lines: string[] = []
    for (const [phase, bring] of Object.entries(PHASES)) {
      for (const [event, send] of Object.entries(EVENTS)) {
        const h = bring()
        expect(phaseName(h.state.phase)).toBe(phase)
        const effects = short(send(h))
        const after = phaseName(h.state.phase)
        if (effects === '' && after === phase) continue
        lines.push(`${phase} | ${event} -> ${after}${effects === '' ? '' : `: ${effects}`}`)
      }
    }
    expect(lines).toEqual(TABLE.trim().split('\n'))
  })
})

describe('a death nobody asked for', () => {
  it('is told to the scheduler when the executors are gone, then answered by a new process with the next incarnation', () => {
    const h = new Harness().running()
    expect(short(h.exited({ running: [runId(7)] }))).toBe('ReapGroups')
    const effects = h.step('GroupsGone', {})
    expect(effects[0]).toEqual({
      kind: 'TellScheduler',
      message: {
        op: 'worker-exited',
        workerId: 'w',
        incarnation: 1,
        code: null,
        signal: 'SIGKILL',
        running: [7],
        restarting: true,
      },
    })
    expect(effects[1]).toMatchObject({ kind: 'SetTimer', name: 'backoff', delayMs: 200 })
    expect(h.due('backoff')[0]).toEqual({ kind: 'SpawnWorker', incarnation: 2, restarts: 1 })
  })

  it('waits longer each time, and longer than 5 s never', () => {
    const h = new Harness({ restartLimit: 20 }).running()
    const delays: number[] = []
    for (let i = 0; i < 10; i++) {
      const effects = h.dieAndRecover()
      delays.push(...effects.flatMap((effect) => (effect.kind === 'SetTimer' ? [effect.delayMs] : [])))
    }
    expect(delays).toEqual([200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000])
  })

  it('is the last when there were too many in a minute, and the reason says so', () => {
    const h = new Harness().running()
    for (let i = 0; i < 3; i++) {
      h.dieAndRecover()
      h.now += 10_000
    }
    const effects = h.dieAndRecover()
    expect(short(effects)).toBe('worker-exited worker-gone Finish(failed)')
    expect(effects[0]).toMatchObject({ message: { restarting: false } })
    expect(effects[2]).toEqual({
      kind: 'Finish',
      failed: true,
      reason:
        'the worker died 4 times within 60 s; the last time: it exited with code 1; the end of its stderr:\nError: boom',
    })
  })

  it('is forgiven once a minute has passed', () => {
    const h = new Harness().running()
    for (let i = 0; i < 50; i++) {
      h.dieAndRecover()
      expect(h.state.phase.kind).toBe('running')
      h.now += 20_001
    }
    expect(h.state.restarts).toBe(50)
  })
})

describe('a worker above terminate', () => {
  const terminate = (h: Harness): NannyEffect[] => {
    const effects = h.step('MemoryExceeded', { privateBytes: 96 * 2 ** 20, terminateBytes: 95 * 2 ** 20 })
    h.exited()
    effects.push(...h.step('GroupsGone', {}))
    if (h.state.phase.kind === 'waiting') {
      h.due('backoff')
      h.step('WorkerStarted', { address: 'tcp://a' })
    }
    return effects
  }

  it('is killed, with an event that says why, and started again without its death being counted', () => {
    const h = new Harness().running()
    const [event] = terminate(h)
    expect(event).toMatchObject({ message: { op: 'log-event', topic: 'worker-restart-memory' } })
    expect(h.state).toMatchObject({ phase: { kind: 'running' }, incarnation: 2, restarts: 1, deaths: [] })
  })

  it('is given up the third time within a minute, with the numbers', () => {
    const h = new Harness().running()
    terminate(h)
    h.now += TERMINATIONS_WINDOW_MS
    terminate(h)
    h.now += TERMINATIONS_WINDOW_MS - 1
    terminate(h)
    expect(h.state.phase.kind).toBe('running')
    const finish = terminate(h).at(-1)
    expect(finish).toMatchObject({ kind: 'Finish', failed: true })
    expect(h.state.phase).toMatchObject({ reason: expect.stringMatching(/3 times .*96\.00 MiB.*95\.00 MiB/) as string })
  })
})

describe('a lifetime', () => {
  const HOUR = 3_600_000

  it('is over: the worker is retired, then closed, and the nanny goes with it', () => {
    const h = new Harness({ lifetimeMs: HOUR }).starting()
    expect(h.step('WorkerStarted', { address: 'tcp://a' })).toContainEqual(
      expect.objectContaining({ kind: 'SetTimer', name: 'lifetime', delayMs: HOUR }),
    )
    expect(h.due('lifetime')).toEqual([{ kind: 'RetireWorker', timeoutMs: 60_000 }])
    expect(short(h.step('WorkerRetired', { retired: true }))).toBe('AskWorkerToClose +escalate')
    h.exited({ code: 0, signal: null })
    expect(short(h.step('GroupsGone', {}))).toBe('worker-exited worker-gone Finish')
    expect(h.state.deaths).toEqual([])
  })

  it('with restart begins anew with empty directories, or, when nobody took its values, with what is in them', () => {
    const h = new Harness({ lifetimeMs: HOUR, lifetimeRestart: true }).running()
    h.due('lifetime')
    h.step('WorkerRetired', { retired: true })
    h.exited({ code: 0, signal: null })
    expect(short(h.step('GroupsGone', {}))).toBe('worker-exited PurgeDirectories')
    h.step('DirectoriesPurged', {})
    expect(short(h.step('WorkerStarted', { address: 'tcp://a' }))).toBe('-start +lifetime ReportStarted')
    h.due('lifetime')
    expect(short(h.step('WorkerRetired', { retired: false }))).toBe('SIGKILL +escalate')
    h.exited()
    expect(short(h.step('GroupsGone', {}))).toBe('worker-exited +backoff')
    expect([h.state.deaths, h.state.restarts]).toEqual([[], 0])
  })

  it('ends with the process: a worker that died is given a whole one', () => {
    const h = new Harness({ lifetimeMs: HOUR }).running()
    expect(short(h.exited())).toBe('-lifetime ReapGroups')
    expect(short(h.step('WorkerRetired', { retired: true }))).toBe('')
    h.step('GroupsGone', {})
    h.due('backoff')
    expect(short(h.step('WorkerStarted', { address: 'tcp://a' }))).toBe('-start +lifetime ReportStarted')
  })
})

describe('a worker that does not get ready', () => {
  it('the first time ends the nanny with what the worker said', () => {
    const h = new Harness().starting()
    h.step('WorkerStartFailed', { message: 'memory limit 10 MiB is too small' })
    h.exited({ code: 1, signal: null })
    const effects = h.step('GroupsGone', {})
    expect(effects.at(-1)).toEqual({
      kind: 'Finish',
      failed: true,
      reason: 'the worker could not be started: memory limit 10 MiB is too small',
    })
  })

  it('is killed when it takes too long, but not while the scheduler is away', () => {
    const h = new Harness().starting()
    h.step('SchedulerLost', {})
    expect(short(h.due('start'))).toBe('+start')
    h.step('SchedulerConnected', {})
    expect(short(h.due('start'))).toBe('SIGKILL +escalate')
    h.exited()
    expect(h.step('GroupsGone', {}).at(-1)).toMatchObject({
      reason: expect.stringContaining('not ready within 60 s of its start'),
    })
  })

  it('after a restart is tried again, at most as often as deaths are, however slow each attempt is', () => {
    const h = new Harness().running()
    h.exited()
    h.step('GroupsGone', {})
    let attempts = 0
    while (h.state.phase.kind === 'waiting') {
      attempts++
      h.due('backoff')
      h.now += 60_000
      h.due('start')
      h.exited()
      h.step('GroupsGone', {})
    }
    expect(attempts).toBe(4)
    expect(h.state.phase).toMatchObject({
      kind: 'gone',
      reason: expect.stringContaining('could not be started again in 4 attempts'),
    })
  })
})

describe('closing', () => {
  it('asks, then SIGTERM, then SIGKILL, then goes without the process', () => {
    const h = new Harness().running()
    const delays = [
      ...h.step('CloseAsked', { reason: 'done', force: false }),
      ...h.due('escalate'),
      ...h.due('escalate'),
    ]
    expect(short(delays)).toBe('AskWorkerToClose +escalate SIGTERM +escalate SIGKILL +escalate')
    expect(delays.flatMap((effect) => (effect.kind === 'SetTimer' ? [effect.delayMs] : []))).toEqual([
      3000, 1000, 10_000,
    ])
    expect(short(h.due('escalate'))).toBe('ReapGroups')
    expect(h.step('GroupsGone', {}).at(-1)).toMatchObject({ kind: 'Finish', failed: true })
  })

  it('of the worker by itself is not answered by a restart', () => {
    const h = new Harness().running()
    h.step('WorkerClosing', { reason: 'the scheduler asked' })
    h.exited({ code: 0, signal: null })
    expect(h.step('GroupsGone', {}).at(-1)).toEqual({ kind: 'Finish', reason: 'the scheduler asked', failed: false })
  })
})

describe('the death timeout', () => {
  it('ends a nanny that never finds its scheduler', () => {
    const h = new Harness({ deathTimeoutMs: 5000 })
    expect(short(h.step('StartAsked', {}))).toBe('+death')
    expect(h.due('death').at(-1)).toEqual({
      kind: 'Finish',
      failed: true,
      reason: 'no scheduler was reached for 5 s (death timeout)',
    })
  })

  it('runs only while the scheduler is away', () => {
    const h = new Harness({ deathTimeoutMs: 5000 }).running()
    expect(h.state.timers.has('death')).toBe(false)
    expect(short(h.step('SchedulerLost', {}))).toBe('+death')
    expect(short(h.step('SchedulerConnected', {}))).toBe('-death')
    h.step('SchedulerLost', {})
    expect(short(h.due('death'))).toBe('AskWorkerToClose +escalate')
  })

  it('is not met by a timer that was replaced', () => {
    const h = new Harness({ deathTimeoutMs: 5000 }).joining()
    const stale = h.state.timers.get('death') ?? 0
    h.step('SchedulerConnected', {})
    h.step('SchedulerLost', {})
    expect(h.step('TimerDue', { name: 'death', serial: stale })).toEqual([])
  })
})

/** The world a nanny lives in: one process at most, groups that die when told to, timers. */
class World {
  readonly h: Harness
  alive = false
  groups = false
  purging = false
  reaping = false
  finished = false
  readonly told: string[] = []

  constructor(limits: Partial<NannyLimits>) {
    this.h = new Harness(limits)
  }

  send<K extends Kind>(kind: K, fields: Fields<K>): void {
    for (const effect of this.h.step(kind, fields)) this.#perform(effect)
  }

  #perform(effect: NannyEffect): void {
    expect(this.finished, 'nothing follows Finish (N3)').toBe(false)
    if (effect.kind === 'SpawnWorker') {
      expect([this.alive, this.groups, this.purging], 'a start beside something that lives (N1)').toEqual([
        false,
        false,
        false,
      ])
      this.alive = true
      this.groups = true
    }
    if (effect.kind === 'ReapGroups') this.reaping = true
    if (effect.kind === 'PurgeDirectories') {
      expect([this.alive, this.groups], 'directories in use are purged').toEqual([false, false])
      this.purging = true
    }
    if (effect.kind === 'TellScheduler' && effect.message.op !== 'log-event') {
      if (effect.message.op === 'worker-exited') expect(this.groups, 'told too early (N4)').toBe(false)
      this.told.push(`${effect.message.op} ${effect.message.op === 'worker-exited' ? effect.message.incarnation : ''}`)
    }
    if (effect.kind === 'Finish') this.finished = true
  }

  exit(): void {
    if (!this.alive) return
    this.alive = false
    this.send('WorkerExited', { code: 1, signal: null, running: [], stderrTail: '' })
  }

  settle(): void {
    if (this.reaping) {
      this.reaping = false
      this.groups = false
      this.send('GroupsGone', {})
    } else if (this.purging) {
      this.purging = false
      this.send('DirectoriesPurged', {})
    }
  }

  /** A timer falls due; but a killed process dies before the nanny stops waiting for it. */
  fire(pick: number): void {
    const { phase } = this.h.state
    if (phase.kind === 'stopping' && phase.rung === 'killed') return this.exit()
    const names = [...this.h.state.timers.keys()]
    const name = names[pick % Math.max(1, names.length)]
    if (name !== undefined) this.send('TimerDue', { name, serial: this.h.state.timers.get(name) ?? 0 })
  }
}

const worldStep = fc.oneof(
  fc.constant((w: World) => w.send('SchedulerConnected', {})),
  fc.constant((w: World) => w.send('SchedulerLost', {})),
  fc.constant((w: World) => (w.alive ? w.send('WorkerStarted', { address: 'tcp://a' }) : undefined)),
  fc.constant((w: World) => (w.alive ? w.send('WorkerStartFailed', { message: 'no' }) : undefined)),
  fc.constant((w: World) => (w.alive ? w.send('WorkerClosing', { reason: 'own' }) : undefined)),
  fc.constant((w: World) => w.exit()),
  fc.constant((w: World) => w.settle()),
  fc.constant((w: World) => w.send('RestartAsked', { generation: 1 })),
  fc.constant((w: World) => w.send('KillAsked', { reason: 'silent' })),
  fc.boolean().map((retired) => (w: World) => w.send('WorkerRetired', { retired })),
  fc.constant((w: World) => w.send('MemoryExceeded', { privateBytes: 96, terminateBytes: 95 })),
  fc.nat().map((pick) => (w: World) => w.fire(pick)),
  fc.integer({ min: 0, max: 90_000 }).map((ms) => (w: World) => void (w.h.now += ms)),
)

describe('in any order of events', () => {
  it('acceptance 29: there is never more than one process, and a nanny that is asked to close ends', () => {
    const property = fc.property(
      fc.array(worldStep, { maxLength: 120 }),
      fc.boolean(),
      fc.option(fc.constant(5000)),
      fc.record({ lifetimeMs: fc.option(fc.constant(5000)), lifetimeRestart: fc.boolean() }),
      (steps, force, deathTimeoutMs, lifetime) => {
        const w = new World({ deathTimeoutMs, ...lifetime })
        w.send('StartAsked', {})
        for (const step of steps) step(w)
        w.send('CloseAsked', { reason: 'done', force })
        for (let i = 0; i < 20 && !w.finished; i++) {
          w.settle()
          w.fire(0)
        }
        expect(w.finished).toBe(true)
        expect([w.alive, w.groups]).toEqual([false, false])
        const exits = w.told.filter((told) => told.startsWith('worker-exited'))
        expect(exits).toEqual(Array.from({ length: w.h.state.incarnation }, (_, i) => `worker-exited ${i + 1}`))
        expect(w.told.at(-1)).toBe('worker-gone ')
      },
    )
    fc.assert(property, { numRuns: 500 })
  })
})
