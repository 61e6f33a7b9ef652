// checkInvariants: every statement that records.ts, state.ts and replicas.ts make about the records, checked against all
// of them. Linear in tasks and workers; on in tests and behind the option `validate`.

import { InvariantError } from '../../base/invariant.ts'
import { isActive, type TaskRecord, type TaskState, type WorkerRecord } from './records.ts'
import { countWaiters, isAvailable } from './replicas.ts'
import { isNamed, supplies } from './restrictions.ts'
import type { SchedulerState } from './state.ts'

/** @throws InvariantError with a sentence per violation and the story of one task concerned. */
export function checkInvariants(state: SchedulerState): void {
  const found = new Violations()
  for (const task of state.tasks.values()) checkTask(state, task, found)
  for (const worker of state.workers.values()) checkWorker(state, worker, found)
  checkClients(state, found)
  checkDatasets(state, found)
  checkTurns(state, found)
  checkCollections(state, found)
  checkSteals(state, found)
  checkCopies(state, found)
  checkCounts(state, found)
  checkMemory(state, found)
  if (found.list.length === 0) return
  const story = found.task === null ? [] : state.story.of(found.task).map((entry) => entry.text)
  throw new InvariantError(
    `after ${state.cause}: ${found.list.slice(0, 10).join('; ')}${story.length === 0 ? '' : `. Story of ${found.task}: ${story.join('; ')}`}`,
  )
}

class Violations {
  readonly list: string[] = []
  task: string | null = null

  expect(holds: boolean, sentence: () => string, task?: TaskRecord): void {
    if (holds) return
    this.list.push(sentence())
    if (task !== undefined) this.task ??= task.key
  }
}

function checkTask(state: SchedulerState, task: TaskRecord, found: Violations): void {
  const say = (what: string) => () => `${task.key} (${task.state}) ${what}`
  const check = (holds: boolean, what: string): void => found.expect(holds, say(what), task)
  check(state.tasks.get(task.key) === task && task.state !== 'forgotten', 'is not the task known under its key')
  check(task.holders.length > 0 === (task.state === 'memory'), `has ${task.holders.length} holders`)
  check(
    (task.processingOn !== null) === (task.state === 'processing'),
    'has a worker without processing, or the other way round',
  )
  check(
    (task.failure !== null) === (task.state === 'erred'),
    'has a failure without being erred, or the other way round',
  )
  check(
    state.queue.has(task) === (task.state === 'queued'),
    'is in the queue without being queued, or the other way round',
  )
  check(
    state.noWorker.has(task) === (task.state === 'no-worker'),
    'is listed as no-worker without being it, or the other way round',
  )
  check(task.processingOn === null || task.processingOn.processing.has(task), 'is not in the processing of its worker')
  check(task.processingOn === null || mayRunOn(task, task.processingOn), 'is on a worker that it did not ask for')
  check(
    task.processingOn !== null || (task.expectedUs === 0 && task.expectedBytes === 0),
    'counts as load without a run',
  )
  check(
    new Set(task.holders).size === task.holders.length && task.holders.every((worker) => worker.replicas.has(task)),
    'has holders that do not mirror',
  )
  check(
    task.wantedBy.every((client) => client.wants.has(task)),
    'is wanted by a client that does not list it',
  )
  check(task.waiters === countWaiters(task), `counts ${task.waiters} waiters but has ${countWaiters(task)}`)
  const missing = task.dependencies.filter((input) => !isAvailable(input))
  check(
    task.waitingOn === (task.state === 'waiting' ? missing.length : 0),
    `waits for ${task.waitingOn} inputs, ${missing.length} are missing`,
  )
  if (task.state === 'waiting') check(missing.length > 0, 'waits for nothing')
  if (task.state === 'queued' || task.state === 'no-worker') check(missing.length === 0, 'is ready without all inputs')
  if (task.state === 'processing')
    check(
      task.dependencies.every((input) => input.state === 'memory'),
      'runs without all inputs in memory',
    )
  if (isActive(task.state))
    check(task.isNeeded && task.hasRecipe, 'is on its way though nobody needs it, or without a recipe')
  if (task.state === 'memory')
    check(
      task.isNeeded && task.acceptedRunId > 0 && task.nbytes >= 0,
      'is kept though nobody needs it, or without a size',
    )
  if (task.state === 'released') check(!task.isNeeded || state.placements.has(task), 'rests though somebody needs it')
  if (task.state === 'released' || task.state === 'erred')
    check(task.isNeeded || task.hasDependents, 'is known though nothing refers to it')
  for (const input of task.dependencies) {
    check(
      input.state === 'forgotten' ? !isActive(task.state) : input.dependents?.has(task) === true,
      `is not a dependent of its input ${input.key}`,
    )
  }
  for (const dependent of task.dependents ?? [])
    check(dependent.dependencies.includes(task), `is not an input of its dependent ${dependent.key}`)
}

function mayRunOn({ group }: TaskRecord, worker: WorkerRecord): boolean {
  return supplies(worker, group) && (group.options.allowOtherWorkers === true || isNamed(worker, group))
}

function checkWorker(state: SchedulerState, worker: WorkerRecord, found: Violations): void {
  const check = (holds: boolean, what: string): void =>
    found.expect(holds, () => `worker ${worker.id} (${worker.link}, ${worker.status}) ${what}`)
  const sum = (tasks: Iterable<TaskRecord>, of: (task: TaskRecord) => number): number => {
    let total = 0
    for (const task of tasks) total += of(task)
    return total
  }
  check(worker.nbytes === sum(worker.replicas.keys(), (task) => task.nbytes), 'has a wrong sum of stored bytes')
  let occupancyUs = sum(worker.processing, (task) => task.expectedUs) + worker.shiftUs
  for (const { us } of worker.fetching.values()) occupancyUs += us
  check(worker.occupancyUs === occupancyUs, 'has a wrong occupancy')
  check(worker.processing.size > 0 || worker.fetching.size === 0, 'counts inputs that no task there needs')
  for (const input of worker.fetching.keys())
    check(!worker.replicas.has(input), `counts ${input.key} as on its way and as there`)
  check(
    worker.expectedBytes === sum(worker.processing, (task) => task.expectedBytes),
    'has a wrong sum of expected bytes',
  )
  for (const task of worker.processing)
    check(task.processingOn === worker && state.tasks.get(task.key) === task, `lists ${task.key} as processing`)
  for (const task of worker.replicas.keys())
    check(task.holders.includes(worker) && state.tasks.get(task.key) === task, `lists ${task.key} as stored`)
  check(
    state.byLoad.has(worker) === worker.isRunning && state.byStart.has(worker) === worker.isRunning,
    'is in the heaps without running, or the other way round',
  )
  check(
    worker.link !== 'away' || (worker.processing.size === 0 && ![...worker.replicas.values()].includes(false)),
    'is away with runs or values that were in its process',
  )
  check(
    worker.host.workers.has(worker) && state.hosts.get(worker.host.name) === worker.host,
    'is not listed with its host',
  )
}

/** D1. */
function checkDatasets(state: SchedulerState, found: Violations): void {
  for (const [name, dataset] of state.datasets) {
    const { pseudo, keys } = dataset
    found.expect(
      dataset.name === name && state.clients.get(pseudo.id) === pseudo && pseudo.isPseudo,
      () => `the dataset ${name} has no pseudo client`,
    )
    for (const task of pseudo.wants)
      found.expect(keys.includes(task.key), () => `the dataset ${name} keeps ${task.key}, which is not in it`, task)
  }
}

function checkClients(state: SchedulerState, found: Violations): void {
  for (const client of state.clients.values()) {
    for (const task of client.wants) {
      found.expect(
        task.wantedBy.includes(client) && state.tasks.get(task.key) === task,
        () => `client ${client.id} wants ${task.key}, which does not know it`,
        task,
      )
    }
    for (const id of client.functions)
      found.expect(state.functions.has(id), () => `function ${id} of client ${client.id} is gone`)
  }
}

/** F2. */
function checkTurns(state: SchedulerState, found: Violations): void {
  const active = new Map<unknown, number>()
  for (const { state: now, group } of state.tasks.values())
    if (isActive(now)) active.set(group.client, (active.get(group.client) ?? 0) + 1)
  for (const client of state.clients.values()) {
    found.expect(
      client.active === (active.get(client) ?? 0),
      () => `client ${client.id} counts ${client.active} unfinished tasks, there are ${active.get(client) ?? 0}`,
    )
  }
}

function checkCollections(state: SchedulerState, found: Violations): void {
  for (const task of state.queue)
    found.expect(task.state === 'queued', () => `${task.key} is ${task.state} but in the queue`, task)
  for (const task of state.noWorker.keys())
    found.expect(task.state === 'no-worker', () => `${task.key} is ${task.state} but listed as no-worker`, task)
  for (const task of state.awaited)
    found.expect(
      task.state !== 'memory' && state.tasks.get(task.key) === task,
      () => `the value of ${task.key} (${task.state}) is still awaited`,
      task,
    )
  for (const task of state.placements.keys()) {
    found.expect(
      task.state === 'released' && !task.hasRecipe && state.tasks.get(task.key) === task,
      () => `${task.key} is ${task.state} but awaits scattered data`,
      task,
    )
  }
  found.expect(state.todo.tasks.length === 0, () => `${state.todo.tasks.length} recommendations were not followed`)
  let processing = 0
  for (const worker of state.workers.values()) processing += worker.processing.size
  found.expect(processing === state.processing, () => `${processing} tasks are processing, not ${state.processing}`)
  const limits = [...state.workers.values()].map(({ info }) => info.memoryLimit)
  const largest = limits.length === 0 || limits.includes(0) ? Infinity : Math.max(...limits)
  found.expect(
    state.largestLimit === null || state.largestLimit === largest,
    () => `the largest limit is ${largest}, not ${state.largestLimit}`,
  )
  for (const worker of state.workers.values()) {
    const { address, name } = worker.info
    found.expect(
      worker.link !== 'live' ||
        (state.byAddress.get(address) === worker && (name === '' || state.byName.get(name) === worker)),
      () => `live worker ${worker.id} is not found by its address ${address} and name "${name}"`,
    )
  }
  let threads = 0
  for (const worker of state.byLoad) {
    threads += worker.nthreads
    found.expect(state.workers.get(worker.id) === worker, () => `worker ${worker.id} is in a heap but removed`)
  }
  found.expect(
    threads === state.runningThreads,
    () => `there are ${threads} running threads, not ${state.runningThreads}`,
  )
  const head = state.queue.peek()
  const least = state.byLoad.best
  if (head === undefined || least === undefined) return
  const slots = Math.ceil(state.options.saturation * least.nthreads)
  found.expect(least.load >= slots, () => `${head.key} is queued while worker ${least.id} has a free slot`, head)
  for (const worker of state.byLoad) {
    const better =
      Number(worker.crowded) < Number(least.crowded) ||
      (worker.crowded === least.crowded && worker.load / worker.nthreads < least.load / least.nthreads)
    found.expect(!better, () => `worker ${worker.id} is less loaded than ${least.id}, the best of the heap`)
  }
}

/** B1, B2. */
function checkSteals(state: SchedulerState, found: Violations): void {
  const { steals, destinations } = state.stealing
  const shifts = new Map<WorkerRecord, { count: number; us: number }>()
  const add = (worker: WorkerRecord, count: number, us: number): void => {
    const sum = shifts.get(worker) ?? { count: 0, us: 0 }
    shifts.set(worker, { count: sum.count + count, us: sum.us + us })
  }
  for (const [task, { run, victim, thief, victimUs, thiefUs }] of steals) {
    found.expect(
      task.processingOn === victim && task.runId === run && victim !== thief,
      () => `${task.key} is being stolen from where it is not`,
      task,
    )
    add(victim, -1, -victimUs)
    add(thief, 1, thiefUs)
  }
  for (const worker of state.workers.values()) {
    const { count, us } = shifts.get(worker) ?? { count: 0, us: 0 }
    found.expect(
      worker.shift === count && worker.shiftUs === us,
      () => `worker ${worker.id} has a shift of ${worker.shift} tasks and ${worker.shiftUs} us, not ${count} and ${us}`,
    )
  }
  found.expect(destinations.size === 0, () => `${destinations.size} stolen tasks were not placed`)
}

/** P1, P2. */
function checkMemory({ memory, workers, clients }: SchedulerState, found: Violations): void {
  for (const worker of memory.short)
    found.expect(
      worker.link === 'live' && workers.get(worker.id) === worker,
      () => `worker ${worker.id} counts as short of memory, and is not connected`,
    )
  let limitBytes = 0
  for (const { info } of workers.values()) limitBytes += info.memoryLimit
  found.expect(
    memory.limitBytes === limitBytes,
    () => `the limits add up to ${limitBytes} bytes, not ${memory.limitBytes}`,
  )
  found.expect(
    clients.size === 0 || memory.told.isShort === memory.short.size > 0,
    () => `clients were told that memory is ${memory.told.isShort ? '' : 'not '}short, and it is the other way round`,
  )
}

/** R2, M3 and M4, and that nothing is on the move that is not there. */
function checkCopies(state: SchedulerState, found: Violations): void {
  const { orders, removals, late, incoming, ended } = state.copies
  for (const task of state.tasks.values())
    found.expect(
      state.replicated.has(task) === task.holders.length > 1,
      () => `${task.key} has ${task.holders.length} holders and is listed as replicated, or the other way round`,
      task,
    )
  for (const task of state.replicated)
    found.expect(state.tasks.get(task.key) === task, () => `${task.key} is listed as replicated but forgotten`, task)
  const coming = new Map<WorkerRecord, number>()
  for (const [task, byWorker] of [...orders, ...removals, ...late]) {
    found.expect(task.state === 'memory', () => `${task.key} (${task.state}) is on the move`, task)
    for (const [worker, order] of byWorker) {
      found.expect(
        worker.link === 'live' && state.workers.get(worker.id) === worker,
        () => `${task.key} is on the move to or from worker ${worker.id}, which is ${worker.link}`,
        task,
      )
      if (typeof order === 'object' && order !== null) coming.set(worker, (coming.get(worker) ?? 0) + order.nbytes)
    }
  }
  for (const worker of state.workers.values()) {
    found.expect(
      (incoming.get(worker) ?? 0) === (coming.get(worker) ?? 0),
      () => `worker ${worker.id} counts ${incoming.get(worker)} bytes on their way, not ${coming.get(worker)}`,
    )
    for (const task of worker.loose)
      found.expect(worker.replicas.has(task), () => `worker ${worker.id} may drop ${task.key}, which it has not`, task)
  }
  found.expect(ended.length === 0, () => `${ended.length} ends of orders were not told`)
}

function checkCounts(state: SchedulerState, found: Violations): void {
  const counted = new Map<string, { counts: Partial<Record<TaskState, number>>; nbytes: number }>()
  for (const task of state.tasks.values()) {
    const { name } = task.group.prefix
    const entry = counted.get(name) ?? { counts: {}, nbytes: 0 }
    counted.set(name, entry)
    entry.counts[task.state] = (entry.counts[task.state] ?? 0) + 1
    if (task.state === 'memory') entry.nbytes += task.nbytes
    found.expect(state.prefixes.get(name) === task.group.prefix, () => `the prefix of ${task.key} is not listed`, task)
    found.expect(
      task.group.fn === null || state.functions.get(task.group.fn.id) === task.group.fn,
      () => `the function of ${task.key} is gone`,
      task,
    )
  }
  for (const prefix of state.prefixes.values()) {
    const entry = counted.get(prefix.name)
    for (const [name, count] of Object.entries(prefix.counts)) {
      const right = entry?.counts[name as TaskState] ?? 0
      found.expect(count === right, () => `prefix ${prefix.name} counts ${count} tasks ${name}, there are ${right}`)
    }
    found.expect(
      prefix.nbytes === (entry?.nbytes ?? 0),
      () => `prefix ${prefix.name} counts ${prefix.nbytes} bytes, there are ${entry?.nbytes ?? 0}`,
    )
  }
}
