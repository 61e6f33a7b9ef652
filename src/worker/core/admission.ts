// Admission: whether the memory is there that a task is going to need. Memory is planned: what runs is counted with what it is
// expected to take, before it has taken it. What is expected is learned per function (function-needs.ts); what processes
// and stored values take is reported (`MemoryMeasured`). execute.ts asks before it starts a run.
//
// A1. A run starts if idle processes + values in memory + what each run has claimed + its own claim are at most `pause`. A
//     claim is peak + result, times the run's share of a thread; once a run was seen to have grown beyond its claim, that.
//     Where a result goes to disk when memory is high, it is no part of the claim: it never takes more than there is.
// A2. A function that never ended here is tried out: it claims 5 % of the limit, or twice its inputs, and at most a quarter
//     of the threads (at least one) try out at a time. A try that was watched for `TRY_MS`, stayed small and has stopped
//     growing is one no more, so that the first wave of long tasks is not held up by its first task.
// A3. What does not fit is overtaken by less urgent tasks that do, for max(2 s, 10 x its median), then by nothing.
// A4. With nothing running the first task starts, whatever it needs: alone.
// A5. Where only stored values are in the way, the store is asked to make room: when the task is next, while others run, so
//     that spilling and computing overlap. One question at a time; one that did not help is not repeated before the next
//     look at memory.
// A6. An attempt that is to be alone counts as if it took everything: it starts by A4, and nothing starts beside it.
// A7. No claim is larger than what there is when nothing runs.

import type { TaskMemory } from './effects.ts'
import type { EventOf } from './events.ts'
import { FunctionNeeds } from './function-needs.ts'
import type { Assignment, LocalTask, Run } from './state.ts'

/** In bytes. Absent from a core whose worker has no limit, or never pauses. */
export interface AdmissionSettings {
  readonly limitBytes: number
  readonly pauseBytes: number
  /** Values may be moved to disk to make room. */
  readonly canSpill: boolean
  /** A result goes to disk at once if process memory would pass `spill` with it. */
  readonly divertsResults: boolean
}

/** Part of the limit, and multiple of its inputs, that any run may take without having asked for it. */
const FLOOR_FRACTION = 0.05
const FLOOR_INPUTS = 2
/** Part of the threads that try out functions at the same time. */
const TRYING_FRACTION = 0.25
const TRY_MS = 250
/** Between two looks: what grows faster is going somewhere. */
const STILL_FRACTION = 0.01
const PATIENCE_MS = 2000
const PATIENCE_MEDIANS = 10

/** What a run is going to need, as far as is known. */
export interface Plan {
  readonly peakBytes: number
  readonly resultBytes: number
  readonly isTry: boolean
  readonly isAlone: boolean
}

const NO_PLAN: Plan = { peakBytes: 0, resultBytes: 0, isTry: false, isAlone: false }
/** Without a limit nobody is blamed, and nothing is reserved. */
const NO_MEMORY: TaskMemory = { reservedBytes: 0, heapBytes: 0, resultBytes: 0 }

export class Admission {
  readonly needs = new FunctionNeeds()
  readonly #settings: AdmissionSettings | null
  readonly #tryingMax: number
  /** Private memory that no run is going to claim. */
  #idleBytes = 0
  #tierBytes = 0
  /** Sum over runs. */
  #claimedBytes = 0
  #trying = 0
  /** Bytes of stored values that were to be left in memory, while the answer is waited for. */
  #roomGoal: number | null = null
  #roomIsVain = false
  #blocked: { readonly task: LocalTask; readonly since: number } | null = null

  constructor(settings: AdmissionSettings | null, nthreads: number) {
    this.#settings = settings
    this.#tryingMax = Math.max(1, Math.floor(TRYING_FRACTION * nthreads))
  }

  get claimedBytes(): number {
    return this.#claimedBytes
  }

  /** What runs claim, stored values and idle processes. */
  get inUseBytes(): number {
    return this.#idleBytes + this.#tierBytes + this.#claimedBytes
  }

  get trying(): number {
    return this.#trying
  }

  /** An answer of the store is on its way. */
  get awaitsRoom(): boolean {
    return this.#roomGoal !== null
  }

  planFor(task: LocalTask): Plan {
    const { assignment } = task
    if (this.#settings === null || assignment === null) return NO_PLAN
    const { options, reserve } = assignment
    const learned = this.needs.of(assignment)
    const resultBytes = learned?.resultBytes ?? 0
    const asked = Math.max(options.memory ?? 0, reserve?.bytes ?? 0)
    const isAlone = reserve?.alone === true
    if (asked > 0 || isAlone) return { peakBytes: asked, resultBytes, isTry: false, isAlone }
    // Others run beside one another in a process that is not theirs alone: nobody knows what each takes.
    if (options.io === true) return NO_PLAN
    if (learned === undefined) return { peakBytes: this.#floor(assignment), resultBytes, isTry: true, isAlone }
    return { peakBytes: learned.peakBytes, resultBytes, isTry: false, isAlone }
  }

  /** What its executor is told; after `planFor`. */
  memoryOf(task: LocalTask, plan: Plan): TaskMemory {
    const settings = this.#settings
    if (settings === null || task.assignment === null) return NO_MEMORY
    const { assignment } = task
    const fitting = this.#alone(settings)
    const known = Math.max(plan.peakBytes, this.needs.of(assignment)?.peakBytes ?? 0)
    return {
      reservedBytes: Math.max(this.#floor(assignment), plan.isAlone ? fitting : Math.min(known, fitting)),
      heapBytes: plan.isAlone ? settings.limitBytes : plan.isTry ? 0 : plan.peakBytes,
      resultBytes: plan.resultBytes,
    }
  }

  /** A1, A2, A4, A6. `running`: how many runs there are. */
  admits(plan: Plan, weight: number, running: number): boolean {
    if (this.#settings === null) return true
    if (this.isTriedOut(plan) || (plan.isAlone && running > 0)) return false
    if (this.#deficit(plan, weight) <= 0) return true
    return running === 0 && !this.awaitsRoom && !this.#roomMayHelp()
  }

  /** A2: enough of its kind are being tried out. */
  isTriedOut(plan: Plan): boolean {
    return plan.isTry && this.#trying >= this.#tryingMax
  }

  begin(run: Run, plan: Plan): void {
    const settings = this.#settings
    if (settings === null) return
    run.claimBytes = this.#claimOf(settings, plan, run.weight)
    run.resultBytes = resultClaim(settings, plan)
    this.#claimedBytes += run.claimBytes
    run.isTry = plan.isTry
    if (plan.isTry) this.#trying++
    if (this.#blocked?.task.key === run.key) this.#blocked = null
  }

  /** Its executor is free of it. */
  release(run: Run): void {
    this.#claimedBytes -= run.claimBytes
    run.claimBytes = 0
    this.#endTry(run)
  }

  /** Its result is on its way into the store. */
  holdResult(run: Run): void {
    if (this.#settings === null) return
    run.claimBytes = run.resultBytes
    this.#claimedBytes += run.claimBytes
  }

  /** The value of a run is in memory; the next look will find it there. */
  stored(nbytes: number): void {
    this.#tierBytes += nbytes
  }

  /** A look at memory. */
  measured(event: EventOf<'MemoryMeasured'>, runs: ReadonlyMap<Run['runId'], Run>): void {
    this.#idleBytes = event.idleBytes
    this.#tierBytes = event.tierBytes
    this.#roomIsVain = false
    const settings = this.#settings
    if (settings === null) return
    for (const { runId, bytes } of event.grown) {
      const run = runs.get(runId)
      if (run?.phase !== 'running') continue
      const claimBytes = Math.max(run.claimBytes, bytes)
      this.#claimedBytes += claimBytes - run.claimBytes
      run.claimBytes = claimBytes
      const small = bytes <= FLOOR_FRACTION * settings.limitBytes
      const still = bytes - run.seenBytes <= STILL_FRACTION * settings.limitBytes
      run.seenBytes = bytes
      if (small && still && event.now - run.startedAt >= TRY_MS) this.#endTry(run)
    }
  }

  roomMade(event: EventOf<'RoomMade'>): void {
    this.#roomIsVain = event.tierBytes > (this.#roomGoal ?? 0)
    this.#roomGoal = null
    this.#tierBytes = event.tierBytes
  }

  /**
   * Bytes that the store is to give up for this task, which is next (A5); 0 = none, or the store is at it. When all threads
   * are taken, one of these runs will have ended before the task starts, and will have left its result.
   */
  roomToAsk(plan: Plan, weight: number, runs: Iterable<Run>, running: number): number {
    if (this.#settings === null || this.awaitsRoom || (plan.isAlone && running > 0) || !this.#roomMayHelp()) return 0
    let deficit = this.#deficit(plan, weight)
    if (deficit <= 0) return 0
    let freed = 0
    for (const run of runs) if (run.phase === 'running') freed = Math.max(freed, run.claimBytes - run.resultBytes)
    deficit = Math.ceil(deficit - freed)
    if (deficit <= 0) return 0
    this.#roomGoal = Math.max(0, this.#tierBytes - deficit)
    return deficit
  }

  /** A3: this one, which is first, does not fit; true while others may start before it. */
  mayBeOvertaken(task: LocalTask, now: number): boolean {
    if (this.#blocked?.task !== task) this.#blocked = { task, since: now }
    const medianMs = this.needs.medianMs(task.assignment as Assignment)
    const patienceMs = Math.max(PATIENCE_MS, PATIENCE_MEDIANS * medianMs)
    return now - this.#blocked.since < patienceMs
  }

  #endTry(run: Run): void {
    if (run.isTry) this.#trying--
    run.isTry = false
  }

  #roomMayHelp(): boolean {
    return this.#settings?.canSpill === true && this.#tierBytes > 0 && !this.#roomIsVain
  }

  /** Bytes by which it does not fit. */
  #deficit(plan: Plan, weight: number): number {
    const settings = this.#settings as AdmissionSettings
    return this.inUseBytes + this.#claimOf(settings, plan, weight) - settings.pauseBytes
  }

  #claimOf(settings: AdmissionSettings, plan: Plan, weight: number): number {
    const alone = this.#alone(settings)
    return plan.isAlone ? alone : Math.min(Math.round(weight * (plan.peakBytes + resultClaim(settings, plan))), alone)
  }

  /** A7. In whole bytes: sums of claims stay exact. */
  #alone(settings: AdmissionSettings): number {
    return Math.max(0, Math.floor(settings.pauseBytes - this.#idleBytes))
  }

  #floor({ inputs }: Assignment): number {
    let inputBytes = 0
    for (const input of inputs) inputBytes += input.nbytes
    return Math.max(FLOOR_FRACTION * (this.#settings?.limitBytes ?? 0), FLOOR_INPUTS * inputBytes)
  }
}

function resultClaim({ divertsResults }: AdmissionSettings, { resultBytes }: Plan): number {
  return divertsResults ? 0 : resultBytes
}
