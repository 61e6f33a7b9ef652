// Can the simulator see? Deliberate faults of one line each in the cores, the store, the client and the nanny, each in a copy
// of the simulator:
//
// - Twenty-two that it has to find: it runs a fixed set of seeds, and must fail within the first third of them. A fault that is
//   seen late is missed after the next change of a scenario.
// - One for each recorded regression, which brings the bug back that was found: the recorded plan has to fail as it did then.
//   Without the fault it holds (test/simulation/regressions.test.ts). So no regression comes to tell another story.
//
// A fault that no longer matches the sources fails the check: then it has to be written anew.
//
//   npm run sabotage [-- NUMBER or NAME ...]      only these faults, or regressions ('regressions': all)

import { spawnSync } from 'node:child_process'
import { kindOfFailure } from '../src/testing/shrink.ts'
import { planPath, REGRESSIONS } from '../test/simulation/regressions.ts'
import { Bundles, ROOT } from './faulty-sources.mjs'

const MAIN = 'src/testing/main.ts'
const FIRST_SEED = 1
const SEEDS = 150
/** A change of the sources may shift what comes first in a recorded plan; then others of its delays show the same. */
const VARIATIONS = 150
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
    find: '    if (event.unreadable === true) turn.sendUnreadable(key, runId, event.reason)\n    else turn.sendReleased(key, runId)\n',
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

const bundles = new Bundles()
const wanted = process.argv.slice(2)
const isWanted = (name) => wanted.length === 0 || wanted.includes(name)
const numbered = FAULTS.map((fault, index) => ({ ...fault, name: `${index + 1}` })).filter(({ name }) => isWanted(name))
const regressions = REGRESSIONS.filter(({ name }) => isWanted(name) || isWanted('regressions'))
try {
  await checkControls(await bundles.make(MAIN))
  let missed = 0
  for (const fault of numbered) if (!report(fault, await attempt(fault))) missed++
  for (const regression of regressions) if (!reportRegression(regression, await replayed(regression))) missed++
  const all = numbered.length + regressions.length
  if (all === 0) throw new Error(`there is no fault ${wanted.join(', ')}`)
  say(
    `${all - missed} of ${all} faults were found: ${numbered.length} by seeds, ${regressions.length} by recorded plans`,
  )
  process.exitCode = missed === 0 ? 0 : 1
} finally {
  bundles.remove()
}

function say(line) {
  process.stdout.write(`${line}\n`)
}

/** Without a fault everything holds. */
async function checkControls(bundle) {
  for (const control of new Map(numbered.map(({ stress, seeds }) => [stress, { stress, seeds }])).values()) {
    const failure = runSim(bundle, seedArguments(control))
    if (failure !== null) throw new Error(`without a fault, seed ${failure.seed}: ${failure.what}`)
  }
}

/** The first failure that the simulator reports and the number of its seed, or null. */
async function attempt(fault) {
  return runSim(await bundles.make(MAIN, fault), seedArguments(fault))
}

async function replayed(regression) {
  return runSim(await bundles.make(MAIN, regression.fault), [
    '--replay',
    planPath(regression),
    '--variations',
    `${VARIATIONS}`,
  ])
}

function seedArguments({ stress, seeds = SEEDS }) {
  const args = ['--from', `${FIRST_SEED}`, '--count', `${seeds}`, '--first-failure']
  return stress === undefined ? args : [...args, '--stress', stress]
}

function runSim(bundle, args) {
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [bundle, ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  })
  // An endless loop is as good as a failure.
  if (error?.code === 'ETIMEDOUT') return { seed: FIRST_SEED, what: 'the simulator did not end' }
  if (error !== undefined) throw error
  if (status === 0) return null
  const failed = /seed (\d+):[^]*?FAILED at [\d.]+ ms: (.*)/.exec(stdout)
  if (failed === null) throw new Error(`the simulator could not run: ${stderr || stdout}`)
  return { seed: Number(failed[1]), what: failed[2] }
}

function report({ name, why, seeds = SEEDS }, failure) {
  const isEarly = failure !== null && failure.seed < FIRST_SEED + seeds / 3
  const verdict = failure === null ? 'MISSED' : isEarly ? 'caught' : 'LATE  '
  say(`${name.padStart(2)}  ${verdict}  ${why}`)
  say(failure === null ? '' : `            seed ${failure.seed} of ${seeds}: ${failure.what.slice(0, 90)}`)
  return isEarly
}

function reportRegression({ name, fails }, failure) {
  const isIt = failure !== null && kindOfFailure(failure.what) === fails
  say(`    ${isIt ? 'fails ' : failure === null ? 'HOLDS ' : 'OTHER '}  ${name}`)
  if (!isIt) say(`            ${failure === null ? 'record it anew' : kindOfFailure(failure.what)}; expected: ${fails}`)
  return isIt
}
