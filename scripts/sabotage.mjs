// Can the simulator see? Twenty-two deliberate faults of one line each in the cores, the store and the nanny: each is applied to a
// copy of the sources, the simulator runs a fixed set of seeds on it, and must fail within the first third of them: a fault
// that is seen late is missed after the next change of a scenario. A fault that no longer matches the sources fails the
// check: then it has to be written anew.
//
//   node scripts/sabotage.mjs [number ...]      only these faults

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const FIRST_SEED = 1
const SEEDS = 150
/** Many times what a quiet machine takes. */
const TIMEOUT_MS = 420_000

/**
 * `stress`: the trouble that the seeds dwell on, for a fault whose mechanism they reach too seldom by themselves; `seeds`: how
 * many are tried, SEEDS when absent.
 * @type {{ file: string, find: string, replace: string, why: string, stress?: string, seeds?: number }[]}
 */
const FAULTS = [
  {
    file: 'src/scheduler/core/handlers/worker-messages.ts',
    find: 'task.processingOn === worker && task.runId === run ? task : undefined',
    replace: 'task.processingOn === worker ? task : undefined',
    why: 'the result of an older run is accepted',
    stress: 'resubmissions',
    seeds: 12,
  },
  {
    file: 'src/scheduler/core/losing.ts',
    find: '  removeReplica(state, task, worker)\n',
    replace: '',
    why: 'a lost replica stays in the books',
  },
  {
    file: 'src/scheduler/core/transitions/released.ts',
    find: '    input.waiters++\n',
    replace: '    if (!isAvailable(input)) input.waiters++\n',
    why: 'inputs that are there are not counted as needed',
  },
  {
    file: 'src/scheduler/core/handlers/worker-loss.ts',
    find: 'afterWorkerDeath(state, task, worker, running.has(run))',
    replace: 'afterWorkerDeath(state, task, worker, !running.has(run))',
    why: 'a death is blamed on the tasks that only waited',
  },
  {
    file: 'src/scheduler/core/handlers/worker-loss.ts',
    find: '  for (const task of worker.replicas.keys()) loseReplica(state, task, worker)\n',
    replace: '',
    why: 'what a removed worker had is believed to be there',
  },
  {
    file: 'src/worker/core/handlers/assignments.ts',
    find: "  turn.send({ op: 'reschedule', key: task.key, runId: task.assignment.runId, reason })\n",
    replace: '',
    why: 'a task that is handed back is told to nobody',
  },
  {
    file: 'src/worker/core/handlers/runs.ts',
    find: '    turn.sendReleased(key, runId)\n',
    replace: '',
    why: 'the scheduler does not hear of a value that the store lost',
  },
  {
    file: 'src/worker/run-desk.ts',
    find: '      pin.release(mapped)\n',
    replace: '      if (mapped) pin.release(mapped)\n',
    why: 'inputs stay pinned after their run',
  },
  {
    file: 'src/store/placer.ts',
    find: '    this.#tiers[place.tier].unreserve(place.nbytes)\n',
    replace: '',
    why: 'the room reserved for a place is never given back',
  },
  {
    file: 'src/nanny/core.ts',
    find: "    return [told, ...setTimer(state, 'backoff', backoffMs(state.deaths.length))]\n",
    replace: '    return [told]\n',
    why: 'a dead worker is never started again',
  },
  {
    file: 'src/scheduler/core/handlers/worker-registration.ts',
    find: '    if (task === undefined || !adoptOne(state, worker, task, held)) drop.push(held.key)\n',
    replace: '    if (task !== undefined) adoptOne(state, worker, task, held)\n',
    why: 'a worker that is back keeps what was released while it was away',
  },
  {
    file: 'src/scheduler/core/handlers/worker-messages.ts',
    find: '    settleRunning(state, worker)\n',
    replace: "    if (status !== 'running') settleRunning(state, worker)\n",
    why: 'a worker that is not paused any more gets no work',
  },
  {
    file: 'src/scheduler/core/handlers/graph.ts',
    find: '      client.refused.set(key, refusal)\n',
    replace: '',
    why: 'what needs a refused key is refused in the same graph only',
  },
  {
    file: 'src/scheduler/core/transitions/released.ts',
    find: '  dropPlaced(state, task)\n',
    replace: '  state.placements.delete(task)\n',
    why: 'what a client had scattered when it died stays for ever',
    stress: 'torn-scatters',
    seeds: 20,
  },
  {
    file: 'src/scheduler/core/placement.ts',
    find: '  if (!supplies(thief, group) || (group.options.allowOtherWorkers !== true && !isNamed(thief, group))) return false\n',
    replace: '',
    why: 'stealing brings tasks to workers that they did not ask for',
  },
  {
    file: 'src/worker/core/handlers/assignments.ts',
    find: "    else if (task.run === null) giveToThief(turn, task)\n    else recall(turn, task.run, 'steal')\n",
    replace: '    else giveToThief(turn, task)\n',
    why: 'a task that has started is given to a thief',
  },
  {
    file: 'src/scheduler/core/handlers/worker-messages.ts',
    find: '  if (!started) task.attempts--\n',
    replace: '',
    why: 'a run that was given back unstarted counts as an attempt',
  },
  {
    file: 'src/scheduler/core/handlers/retire.ts',
    find: 'left === 0 && worker.processing.size === 0',
    replace: 'worker.processing.size === 0',
    why: 'a worker retires with values that nobody else has',
  },
  {
    file: 'src/scheduler/core/handlers/client.ts',
    find: 'client: client.id }, state.options.clientGraceMs)',
    replace: 'client: client.id }, state.options.clientGraceMs / 2)',
    why: 'a client is given up after half of its grace',
  },
  {
    file: 'src/scheduler/core/handlers/client.ts',
    find: '    client.applied++\n',
    replace: '',
    why: 'what a client said before its connection broke is carried out twice',
  },
  {
    file: 'src/worker/core/admission.ts',
    find: '    if (this.#deficit(plan, weight) <= 0) return true\n',
    replace: '    if (running > 0 || this.#deficit(plan, weight) <= 0) return true\n',
    why: 'tasks start for which there is no memory',
  },
  {
    file: 'src/store/spiller.ts',
    find: '        this.#leaving -= record.nbytes\n',
    replace: '',
    why: 'what was spilled counts as on its way to the disk for ever',
  },
]

const wanted = process.argv.slice(2).map(Number)
const numbered = FAULTS.map((fault, index) => ({ ...fault, number: index + 1 })).filter(
  ({ number }) => wanted.length === 0 || wanted.includes(number),
)
const controls = new Map(numbered.map(({ stress, seeds }) => [stress, { stress, seeds }]))
for (const plan of controls.values()) {
  const control = simulate(ROOT, plan)
  if (control !== null) throw new Error(`without a fault, seed ${control.seed}: ${control.what}`)
}
const missed = numbered.filter((fault) => !report(fault, attempt(fault)))
process.stdout.write(`${numbered.length - missed.length} of ${numbered.length} faults were caught early\n`)
process.exitCode = missed.length === 0 ? 0 : 1

/** The first failure that the simulator reports and the number of its seed, or null. */
function attempt({ file, find, replace, stress, seeds }) {
  const copy = mkdtempSync(join(tmpdir(), 'plimsoll-sabotage-'))
  try {
    cpSync(join(ROOT, 'src'), join(copy, 'src'), { recursive: true })
    cpSync(join(ROOT, 'package.json'), join(copy, 'package.json'))
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
    const path = join(copy, file)
    const text = readFileSync(path, 'utf8')
    if (text.split(find).length !== 2)
      throw new Error(`${file} does not have exactly one\n${find}\nAdapt the fault in scripts/sabotage.mjs.`)
    writeFileSync(path, text.replace(find, replace))
    return simulate(copy, { stress, seeds })
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

function simulate(copy, { stress, seeds = SEEDS }) {
  const args = ['src/testing/main.ts', '--from', `${FIRST_SEED}`, '--count', `${seeds}`, '--first-failure']
  if (stress !== undefined) args.push('--stress', stress)
  const { status, stdout, stderr, error } = spawnSync(process.execPath, ['--import', 'tsx', ...args], {
    cwd: copy,
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  })
  // An endless loop is as good as a failure.
  if (error?.code === 'ETIMEDOUT') return { seed: FIRST_SEED, what: 'the simulator did not end' }
  if (error !== undefined) throw error
  if (status === 0) return null
  const failed = /seed (\d+):[^]*?FAILED at [\d.]+ ms: (.*)/.exec(stdout)
  if (failed === null) throw new Error(`the simulator could not run: ${stderr || stdout}`)
  return { seed: Number(failed[1]), what: failed[2].slice(0, 90) }
}

function report({ number, why, seeds = SEEDS }, failure) {
  const isEarly = failure !== null && failure.seed < FIRST_SEED + seeds / 3
  const verdict = failure === null ? 'MISSED' : isEarly ? 'caught' : 'LATE  '
  const where = failure === null ? '' : `seed ${failure.seed} of ${seeds}: ${failure.what}`
  process.stdout.write(`${String(number).padStart(2)}  ${verdict}  ${why}\n            ${where}\n`)
  return isEarly
}
