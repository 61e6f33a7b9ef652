// Every invariant of the worker's state, checked after each step in tests (O(everything)).

import { invariant } from '../../base/invariant.ts'
import {
  ERRED_MAX,
  isBlocked,
  isParked,
  statusOf,
  type LocalTask,
  type Peer,
  type Transfer,
  type WorkerState,
} from './state.ts'
import { story } from './story.ts'

/** @throws InvariantError with the sentence that does not hold, and the story of the key. */
export function checkInvariants(state: WorkerState): void {
  for (const [key, task] of state.tasks) {
    check(state, task, task.key === key, 'is filed under its key')
    checkState(state, task)
    checkLinks(state, task)
  }
  checkCollections(state)
  checkRuns(state)
  checkResources(state)
  let incomingBytes = 0
  let flying = 0
  for (const transfer of state.transfers.values()) {
    checkTransfer(state, transfer)
    flying += transfer.keys.size
    for (const order of transfer.keys.values()) incomingBytes += order.nbytes
  }
  invariant(flying === state.flying.size, `${flying} keys are on their way, not ${state.flying.size}`)
  invariant(
    incomingBytes === state.incomingBytes,
    `${incomingBytes} bytes are on their way, not ${state.incomingBytes}`,
  )
  for (const peer of state.peers.values()) checkPeer(state, peer)
}

function check(state: WorkerState, task: LocalTask, holds: boolean, sentence: string): void {
  invariant(holds, () => {
    const lines = story(state, task.key).map((line) => line.text)
    return `task ${task.key} (${task.state}) violates "${sentence}"\n${lines.join('\n')}`
  })
}

/** W1, W5 and what each state means. */
function checkState(state: WorkerState, task: LocalTask): void {
  const assigned = ['waiting', 'ready', 'constrained', 'executing'].includes(task.state)
  check(state, task, task.state !== 'released', 'nothing rests in released')
  check(
    state,
    task,
    (task.assignment !== null) === assigned,
    'an assignment exactly in waiting, ready, constrained and executing',
  )
  check(state, task, (task.run !== null) === (task.state === 'executing'), 'a run exactly in executing')
  check(state, task, (task.transfer !== null) === (task.state === 'flight'), 'a transfer exactly in flight')
  check(state, task, (task.value !== null) === (task.state === 'memory'), 'a value exactly in memory')
  check(state, task, state.waiting.has(task) === (task.state === 'waiting'), 'the set of waiting tasks is exact')
  check(state, task, state.ready.has(task) === (task.state === 'ready'), 'the ready queue is exact')
  check(state, task, state.resources.has(task) === (task.state === 'constrained'), 'the constrained queues are exact')
  check(state, task, state.missing.has(task) === (task.state === 'missing'), 'the set of missing keys is exact')
  check(state, task, state.erred.has(task) === (task.state === 'error'), 'the set of failed tasks is exact')
  const wanted = task.dependents.size > 0 || task.acquire
  if (task.state === 'fetch' || task.state === 'flight' || task.state === 'missing')
    check(state, task, wanted, 'what is fetched is wanted')
  if (task.state === 'fetch') check(state, task, task.holders.size > 0, 'what can be fetched has a holder')
  if (task.state === 'missing') check(state, task, task.holders.size === 0, 'what is missing has no holder')
  if (task.assignment !== null || task.state === 'memory')
    check(state, task, task.holders.size === 0, 'holders only of what is not here')
  if (task.state === 'waiting')
    check(
      state,
      task,
      task.assignment?.missingInputs !== 0 || isBlocked(state, task.key),
      'a waiting task waits for something',
    )
  if (task.state === 'ready' || task.state === 'constrained')
    check(
      state,
      task,
      task.assignment?.missingInputs === 0 && !isBlocked(state, task.key),
      'a ready task waits for nothing',
    )
  if (task.run !== null)
    check(
      state,
      task,
      state.runs.get(task.run.runId) === task.run && task.run.fate !== 'discard',
      'an executing task has a live run',
    )
  if (task.transfer !== null)
    check(state, task, state.flying.get(task.key) === task.transfer, 'a task in flight is in its transfer')
}

function checkLinks(state: WorkerState, task: LocalTask): void {
  let missing = 0
  for (const input of task.assignment?.inputs ?? []) {
    check(state, task, state.tasks.get(input.key) === input, `its input ${input.key} is known`)
    check(state, input, input.dependents.has(task), `it lists its dependent ${task.key}`)
    if (input.state !== 'memory') missing++
  }
  if (task.assignment !== null)
    check(state, task, task.assignment.missingInputs === missing, 'the count of missing inputs is exact')
  for (const dependent of task.dependents)
    check(
      state,
      task,
      dependent.assignment?.inputs.includes(task) === true,
      `its dependent ${dependent.key} has it as an input`,
    )
  for (const peer of task.holders) {
    check(state, task, state.peers.get(peer.id) === peer && peer.hints.has(task), `its holder ${peer.id} knows of it`)
    const offered = task.state === 'fetch' && !isParked(state, task.key)
    check(state, task, peer.needed.has(task) === offered, `W4 at ${peer.id}`)
  }
}

function checkCollections(state: WorkerState): void {
  for (const set of [state.waiting, state.missing, state.erred, state.ready, state.resources]) {
    for (const task of set) check(state, task, state.tasks.get(task.key) === task, 'queued tasks are known')
  }
  let heldBytes = 0
  for (const task of state.tasks.values()) heldBytes += task.value?.nbytes ?? 0
  invariant(heldBytes === state.heldBytes, `held bytes are ${heldBytes}, not ${state.heldBytes}`)
  invariant(state.erred.size <= ERRED_MAX, 'too many failed tasks are remembered')
  invariant(state.missing.size === 0 || state.missingTimerMs !== null, 'missing keys without a timer')
}

function checkRuns(state: WorkerState): void {
  let load = 0
  let running = 0
  let claimed = 0
  let trying = 0
  const discarded = new Map<string, number>()
  for (const [id, run] of state.runs) {
    invariant(run.runId === id, `run ${id} is filed under its id`)
    claimed += run.claimBytes
    if (run.isTry) trying++
    if (run.phase === 'running') {
      running++
      load += run.weight
    }
    if (run.fate === 'discard') discarded.set(run.key, (discarded.get(run.key) ?? 0) + 1)
    else
      invariant(state.tasks.get(run.key)?.run === run, `run ${id} of ${run.key} is wanted by nobody and not discarded`)
  }
  for (const key of state.discardedStoring)
    invariant(state.discarded.has(key), `${key} is said to have a discarded run`)
  invariant(running === state.running, `${running} runs are running, not ${state.running}`)
  invariant(Math.abs(load - state.load) < 1e-6, `the load is ${load}, not ${state.load}`)
  invariant(claimed === state.admission.claimedBytes, `runs claim ${claimed}, not ${state.admission.claimedBytes}`)
  invariant(trying === state.admission.trying, `${trying} runs try out functions, not ${state.admission.trying}`)
  invariant(state.load <= state.settings.nthreads + 1e-6, `the load ${state.load} is above nthreads`)
  invariant(discarded.size === state.discarded.size, 'the count of discarded runs is exact')
  for (const [key, count] of discarded)
    invariant(state.discarded.get(key as never) === count, `W2: discarded runs of ${key} are counted`)
}

/** R1, and that no share is given away twice. */
function checkResources(state: WorkerState): void {
  for (const run of state.resources.holders)
    invariant(
      state.runs.get(run.runId) === run && run.phase === 'running',
      `run ${run.runId} of ${run.key} holds resources after its end`,
    )
  for (const name of state.resources.names)
    invariant(state.resources.free(name) >= -1e-6, `more ${name} is in use than there is`)
  if (statusOf(state) !== 'running') return
  const next = state.resources.firstAffordable()
  if (next !== undefined)
    check(
      state,
      next,
      state.load > 0 || state.admission.awaitsRoom,
      'a task whose resources are free does not wait on an idle worker',
    )
}

function checkTransfer(state: WorkerState, transfer: Transfer): void {
  invariant(transfer.peer.transfer === transfer, `G1: transfer ${transfer.id} is the one of its peer`)
  let wanted = 0
  for (const key of transfer.keys.keys()) {
    invariant(state.flying.get(key) === transfer, `${key} flies with transfer ${transfer.id}`)
    if (state.tasks.get(key)?.transfer === transfer) wanted++
  }
  invariant(wanted === transfer.wanted, `transfer ${transfer.id} is wanted for ${wanted} keys, not ${transfer.wanted}`)
}

function checkPeer(state: WorkerState, peer: Peer): void {
  for (const task of peer.hints) check(state, task, task.holders.has(peer), `it lists its holder ${peer.id}`)
  for (const task of peer.needed) check(state, task, task.state === 'fetch', `what is needed of ${peer.id} is in fetch`)
}
