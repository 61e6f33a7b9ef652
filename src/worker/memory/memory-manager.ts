// Keeps a worker below its limit: samples process memory, reports the measures, and acts on three rungs of the ladder.
// `target` is the store's own (it counts every blob); the state machine pauses, this says when.
//
// L1. spill: process memory above the rung makes the store give up room until process memory is below `target`. One order at
//     a time; one that freed nothing is not repeated for a second, and is worth a warning now and then: what is high then is
//     memory that the store knows nothing of.
// L2. pause: above the rung the core is told to pause, below `resume` to go on. Between the two nothing changes.
// L3. kill-task: above the rung one executor is killed, if one is to blame (victim.ts).
// L4. Paused with nothing running, the memory is held by executors that do nothing: after a while they are replaced. When
//     that does not end the pause, one task is let through, alone: progress beats `pause`, not `kill-task`. Until the new
//     executors are up, memory is low: an end of the pause that is over before anything ran is none. Once one was let
//     through and the pause goes on, there is nothing to wait for: the next ones follow at once, one at a time.
// L5. Idle, values that were freed but are still mapped are given back soon: once per amount, since what a collection does
//     not give back is held by something else. (A busy worker collects when the store needs the room.)
// L6. Without a limit only L5 is done; the measures are taken all the same.
// L7. The nearer `kill-task`, the more often it looks: a task can grow by gigabytes in a second.
// L8. Above `spill`, idle executors that hold on to much of what their tasks left are replaced: that memory is of no use to
//     anybody. Below it a module's cache may keep what it likes.
// L9. The store is told what `spill` leaves for values beside the most that everything else took in the last seconds: what it
//     would have to move out of memory at once it need not put there. Once process memory was above the rung, it is what
//     `target` leaves, for some seconds: new values in the room that was just made would have the next ones moved out again,
//     and each of those is written twice.
// L10. While memory is short, the worker's own process collects its garbage before anything else is done: no value has to
//     leave, and nothing to pause, for garbage (own-garbage.ts).
// L11. Where the disk takes nothing, values stay in memory, but never so many that they and what everything else took in the
//     last seconds pass the limit: the result that would is refused (STORE_FULL).

import type { Clock } from '../../base/clock.ts'
import type { MemoryMeasures } from '../../protocol/scheduler-client.ts'
import type { MemoryRungs } from '../options.ts'
import type { ExecutorSample } from '../executor/executor-pool.ts'
import { measure, processMemory, type MemorySample, SlidingMinimum } from './measures.ts'
import { type OwnCollection, OwnGarbage } from './own-garbage.ts'
import { adviceFor, chooseVictim } from './victim.ts'

export interface ProcessSample {
  readonly privateBytes: number
  /** Part of it that the worker's own process has; 0 where that is not the worker's alone. */
  readonly ownBytes: number
  readonly executors: readonly ExecutorSample[]
}

export interface CountedSample extends Omit<MemorySample, 'privateBytes'> {
  /** Bytes of values in the worker's own process. */
  readonly inlineBytes: number
}

export interface MemoryManagerParts {
  readonly clock: Clock
  /** Bytes; 0 = none. */
  readonly limit: number
  readonly rungs: MemoryRungs
  readonly intervalMs: number
  readonly recentToOldMs: number
  /** Private memory of all processes of this worker, and what is known of its executors; read now. */
  readProcesses(): ProcessSample
  /** What the store counts, which costs nothing to ask. */
  counted(): CountedSample
  /** Resolves when managed memory is below this, or nothing more can leave. */
  makeRoom(managedBytes: number): Promise<void>
  /** New values beyond this many bytes in memory are placed elsewhere (L9), and beyond `atMost` not at all (L11). */
  allow(managedBytes: number, atMost: number): void
  onPause(): void
  onResume(): void
  /** Ends this executor and fails what it runs, with this advice. */
  killExecutor(pid: number, advice: string): void
  /** Executions under way. */
  running(): number
  /** Some of them have really begun: those given to an executor that is not up yet have not. */
  isAnyStarted(): boolean
  /** Bytes of freed values that only mappings in executors hold. */
  deadMapped(): number
  /** Asks executors for a full garbage collection. */
  collect(): void
  /** The same in the worker's own process; done when it returns (L10). */
  collectOwn(how: OwnCollection): void
  /** Collect and replace executors that run nothing. */
  relieve(): void
  /** Collect, then replace, executors that run nothing and hold much all the same (L8). */
  recycleHoarders(): void
  /** Process memory is above `spill`, and what the store could give up has left. */
  onUnmanagedHigh(measures: MemoryMeasures): void
  /** One task may start in spite of the pause. */
  onProbe(): void
  /** Memory was looked at. */
  onMeasured(look: ProcessSample): void
}

const FRUITLESS_REST_MS = 1000
/** How often high unmanaged memory is worth a warning. */
const WARN_EVERY_MS = 300_000
/** How fast one task is taken to grow, bytes per second (L7). */
const GROWTH_PER_SECOND = 2 * 2 ** 30
const SHORTEST_INTERVAL_MS = 10
/** Paused and idle for this long: L4. */
const RELIEVE_AFTER_MS = 5000
const PROBE_AFTER_MS = 10_000
const PROBE_AGAIN_MS = 1000
/** L9. Longer than most tasks take to come to their peak again. */
const UNMANAGED_PEAK_MS = 5000
/** Idle for this long: L5. */
const COLLECT_AFTER_MS = 500

export class MemoryManager {
  readonly #parts: MemoryManagerParts
  readonly #oldUnmanaged: SlidingMinimum
  readonly #ownGarbage: OwnGarbage
  /** Negative: the smallest is the peak. */
  readonly #minusUnmanaged = new SlidingMinimum(UNMANAGED_PEAK_MS)
  #privateBytes = 0
  #paused = false
  /** Nothing was seen running since; a short end of the pause does not end it (L4). */
  #pausedIdleSince: number | null = null
  #resumedAt = Number.NEGATIVE_INFINITY
  #relieved = false
  #probeAt = Number.POSITIVE_INFINITY
  /** One was let through in this pause. */
  #probed = false
  #idleSince: number | null = null
  /** What was dead when a collection was last asked for. */
  #collectedFor = 0
  #making = false
  /** Process memory was above `spill` and is not below `target` yet. */
  #spilling = false
  #restUntil = Number.NEGATIVE_INFINITY
  /** New values get what `target` leaves (L9). */
  #modestUntil = Number.NEGATIVE_INFINITY
  #warnAgainAt = Number.NEGATIVE_INFINITY
  #peak: number
  #cancelTimer: (() => void) | null = null

  constructor(parts: MemoryManagerParts, processPeak: number) {
    this.#parts = parts
    this.#peak = processPeak
    this.#oldUnmanaged = new SlidingMinimum(parts.recentToOldMs)
    this.#ownGarbage = new OwnGarbage(parts.limit)
    this.#privateBytes = parts.readProcesses().privateBytes
  }

  start(): void {
    this.#cancelTimer = this.#parts.clock.after(this.#delayMs(), () => {
      this.tick()
      this.start()
    })
  }

  stop(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = null
  }

  /** Highest process memory since the worker's first start; never less than now, also before the first look at it. */
  get processPeak(): number {
    return Math.max(this.#peak, this.measures().process)
  }

  /** The measures of this moment, with private memory as last sampled. */
  measures(): MemoryMeasures {
    const sample = { ...this.#parts.counted(), privateBytes: this.#privateBytes }
    return measure(this.#parts.limit, sample, this.#oldUnmanaged.value)
  }

  /** One look at process memory, and what follows from it. */
  tick(): void {
    const { clock, limit, rungs } = this.#parts
    const look = this.#look()
    const { privateBytes, executors } = look
    this.#privateBytes = privateBytes
    const sample = { ...this.#parts.counted(), privateBytes: this.#privateBytes }
    const now = clock.now()
    const process = processMemory(sample)
    this.#oldUnmanaged.add(now, process - sample.managed)
    this.#peak = Math.max(this.#peak, process)
    this.#collectWhenIdle(now)
    if (limit === 0) return
    this.#minusUnmanaged.add(now, sample.managed - process)
    if (process > rungs.spill) this.#modestUntil = now + UNMANAGED_PEAK_MS
    const most = now < this.#modestUntil ? Math.min(rungs.target, rungs.spill) : rungs.spill
    this.#parts.allow(most + this.#minusUnmanaged.value, limit + this.#minusUnmanaged.value)
    this.#spillOrStop(process, sample.managed, now)
    this.#pauseOrResume(process, now)
    if (process > rungs.killTask) this.#kill(process, executors)
    this.#parts.onMeasured(look)
  }

  /** L10. */
  #look(): ProcessSample {
    const { clock, limit, rungs } = this.#parts
    const look = this.#parts.readProcesses()
    if (limit === 0 || look.ownBytes === 0) return look
    const before = clock.now()
    const counted = this.#parts.counted()
    const process = processMemory({ ...counted, privateBytes: look.privateBytes })
    const isPressing = this.#paused || process > rungs.pause
    const isShort = isPressing || this.#spilling || process > Math.min(rungs.spill, rungs.killTask)
    const shortage = { isIdle: this.#parts.running() === 0, isPressing }
    const how = this.#ownGarbage.due(before, otherBytes(look, counted), shortage)
    if (!isShort || how === null) return look
    this.#parts.collectOwn(how)
    const after = this.#parts.readProcesses()
    const now = clock.now()
    this.#ownGarbage.collected(now, now - before, otherBytes(after, counted), how)
    return after
  }

  /** Time in which the running tasks could grow up to `kill-task`. */
  #delayMs(): number {
    const { limit, rungs, intervalMs } = this.#parts
    const running = this.#parts.running()
    if (limit === 0 || running === 0) return intervalMs
    const headroom = rungs.killTask - this.measures().process
    const safeMs = (1000 * headroom) / (GROWTH_PER_SECOND * running)
    return Math.min(intervalMs, Math.max(SHORTEST_INTERVAL_MS, safeMs))
  }

  #kill(process: number, executors: readonly ExecutorSample[]): void {
    const { limit, rungs } = this.#parts
    const shortage = { process, limit, pause: rungs.pause, killTask: rungs.killTask }
    const victim = chooseVictim(executors, shortage)
    if (victim !== null) this.#parts.killExecutor(victim.pid, adviceFor(victim, shortage))
  }

  #spillOrStop(process: number, managed: number, now: number): void {
    const { target, spill } = this.#parts.rungs
    const goal = Math.min(target, spill)
    if (process > spill) this.#spilling = true
    else if (process <= goal) this.#spilling = false
    if (!this.#spilling) return
    if (process > spill) this.#parts.recycleHoarders()
    if (managed === 0) this.#warnOfUnmanaged(process, now)
    else if (!this.#making && now >= this.#restUntil) this.#spill(process, managed, goal)
  }

  #spill(process: number, managed: number, goal: number): void {
    this.#making = true
    const settled = (): void => {
      this.#making = false
      if (this.#parts.counted().managed < managed) return
      const now = this.#parts.clock.now()
      this.#restUntil = now + FRUITLESS_REST_MS
      this.#warnOfUnmanaged(this.measures().process, now)
    }
    // The store reports by itself what it cannot move.
    this.#parts.makeRoom(Math.max(0, managed - (process - goal))).then(settled, settled)
  }

  #warnOfUnmanaged(process: number, now: number): void {
    if (process <= this.#parts.rungs.spill || now < this.#warnAgainAt) return
    this.#warnAgainAt = now + WARN_EVERY_MS
    this.#parts.onUnmanagedHigh(this.measures())
  }

  #pauseOrResume(process: number, now: number): void {
    const { rungs } = this.#parts
    if (!this.#paused && process > rungs.pause) {
      this.#paused = true
      if (now - this.#resumedAt > RELIEVE_AFTER_MS) {
        this.#pausedIdleSince = null
        this.#probed = false
      }
      this.#parts.onPause()
    } else if (this.#paused && process < rungs.resume) {
      this.#paused = false
      this.#resumedAt = now
      this.#parts.onResume()
    }
    if (!this.#paused && this.#pausedIdleSince === null) return
    if (this.#parts.isAnyStarted()) this.#pausedIdleSince = null
    else if (this.#paused) this.#helpWhenStuck(now)
  }

  #helpWhenStuck(now: number): void {
    if (this.#pausedIdleSince === null) {
      this.#pausedIdleSince = now
      this.#relieved = false
      this.#probeAt = now + (this.#probed ? PROBE_AGAIN_MS : PROBE_AFTER_MS)
    }
    if (!this.#relieved && now - this.#pausedIdleSince >= RELIEVE_AFTER_MS) {
      this.#relieved = true
      this.#parts.relieve()
    } else if (now >= this.#probeAt) {
      // Again and again: a short task comes and goes between two looks.
      this.#probeAt = now + PROBE_AGAIN_MS
      this.#probed = true
      this.#parts.onProbe()
    }
  }

  #collectWhenIdle(now: number): void {
    const dead = this.#parts.deadMapped()
    if (dead === 0) this.#collectedFor = 0
    if (dead === 0 || this.#parts.running() > 0) {
      this.#idleSince = null
      return
    }
    this.#idleSince ??= now
    if (dead === this.#collectedFor || now - this.#idleSince < COLLECT_AFTER_MS) return
    this.#collectedFor = dead
    this.#idleSince = now
    this.#parts.collect()
  }
}

function otherBytes({ ownBytes }: ProcessSample, { inlineBytes }: CountedSample): number {
  return Math.max(0, ownBytes - inlineBytes)
}
