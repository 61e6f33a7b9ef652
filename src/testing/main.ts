// `npm run sim`: replays one seed or a recorded plan, records one, searches for seeds that fail, or runs at scale. Exit code 1
// when something failed.

import { readFileSync, writeFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { toError } from '../errors/plimsoll-error.ts'
import { formatPlan, parsePlan } from './plan-file.ts'
import { planSimulation, type SeedOptions, type SimulationPlan, variationOf } from './plan.ts'
import { scaleRun } from './scale.ts'
import { kindOfFailure, shrinkPlan } from './shrink.ts'
import { simulate, type SimulationReport } from './simulate.ts'
import { type Stress, STRESSES } from './stress.ts'

interface Options {
  readonly seed?: number
  readonly trace?: boolean
  readonly record?: string
  readonly replay?: string
  readonly variations?: number
  readonly faults: boolean
  readonly stress?: Stress
  readonly minutes?: number
  readonly count?: number
  readonly from?: number
  readonly firstFailure?: boolean
  readonly workers?: number
  readonly tasks?: number
}

const MINUTE_MS = 60_000
/** How long a plan that is recorded is made smaller. */
const SHRINK_MS = 60_000

function whole(text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new InvalidArgumentError('a whole number is wanted')
}

function positive(text: string): number {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('a number above zero is wanted')
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

const SEARCH = ['minutes', 'count', 'from', 'firstFailure']
const SCALE = ['workers', 'tasks']
const option = (flags: string, description: string): Option => new Option(flags, description)

const program = new Command('npm run sim --')
  .description('Runs the production cores in a simulated cluster under virtual time (docs/simulation.md).')
  .addOption(option('--seed <n>', 'replay this seed and print its story').argParser(whole).conflicts(SEARCH))
  .addOption(option('--trace', 'with --seed or --replay: every event, message and effect').conflicts(SEARCH))
  .addOption(
    option('--record <file>', 'with --seed: write its plan, made smaller while it fails').conflicts([
      'trace',
      ...SEARCH,
    ]),
  )
  .addOption(
    option('--replay <file>', 'replay a plan that was recorded').conflicts([
      'seed',
      'stress',
      'faults',
      'record',
      ...SEARCH,
    ]),
  )
  .addOption(
    option(
      '--variations <n>',
      'with --replay: if the plan holds, so many times with other delays and choices, until it fails',
    ).argParser(whole),
  )
  .addOption(option('--no-faults', 'only what clients do, nothing breaks'))
  .addOption(option('--stress <kind>', 'more trouble of this kind than the seeds bring').choices(STRESSES))
  .addOption(option('--minutes <m>', 'search for failing seeds for so long').argParser(positive))
  .addOption(option('--count <n>', 'search so many seeds').argParser(whole))
  .addOption(option('--from <n>', 'first seed of a search (one at random when absent)').argParser(whole))
  .addOption(option('--first-failure', 'end a search with the first seed that fails'))
  .addOption(option('--workers <n>', 'scale run: so many workers').argParser(whole))
  .addOption(option('--tasks <n>', 'scale run: so many tasks').argParser(whole))
for (const each of program.options)
  if (SCALE.includes(each.attributeName()))
    each.conflicts(program.options.map((other) => other.attributeName()).filter((name) => !SCALE.includes(name)))

async function main(): Promise<boolean | undefined> {
  const options = program.parse().opts<Options>()
  const { seed, record, replay: file } = options
  if (record !== undefined && seed === undefined) program.error("error: option '--record <file>' needs '--seed <n>'")
  if (options.variations !== undefined && file === undefined)
    program.error("error: option '--variations <n>' needs '--replay <file>'")
  if (options.workers !== undefined || options.tasks !== undefined)
    return scaleRun({ workers: options.workers ?? 10, tasks: options.tasks ?? 10_000 }, say)
  if (file !== undefined) return replayPlan(file, options)
  if (seed !== undefined) return record === undefined ? replay(seed, options) : recordSeed(seed, record, options)
  if (options.minutes !== undefined || options.count !== undefined) return search(options)
  program.outputHelp()
  return undefined
}

async function replayPlan(file: string, { trace = false, variations = 0 }: Options): Promise<boolean> {
  const plan = readPlan(file)
  for (let n = 0; ; n++) {
    const report = await simulate({ plan: variationOf(plan, n), trace })
    if (report.failure !== null || n === variations) return tellAll(report, `--replay ${file}`)
  }
}

function readPlan(file: string): SimulationPlan {
  try {
    return parsePlan(readFileSync(file, 'utf8'), file)
  } catch (error) {
    return program.error(`error: ${toError(error).message}`)
  }
}

async function replay(seed: number, options: Options): Promise<boolean> {
  const { trace = false } = options
  const seeded = seedOptions(seed, options)
  return tellAll(await simulate({ ...seeded, trace }), named(seeded))
}

/** True when the plan is written; whether it fails is what it says. */
async function recordSeed(seed: number, file: string, options: Options): Promise<boolean> {
  const plan = planSimulation(seedOptions(seed, options))
  const { failure } = await simulate({ plan })
  const until = performance.now() + SHRINK_MS
  let tries = 0
  const run = async (smaller: SimulationPlan): Promise<string | null> => {
    tries++
    const { failure: found } = await simulate({ plan: smaller })
    return found === null ? null : kindOfFailure(found.what)
  }
  const smallest = failure === null ? plan : await shrinkPlan(plan, { run, mayGoOn: () => performance.now() < until })
  try {
    writeFileSync(file, formatPlan(smallest))
  } catch (error) {
    program.error(`error: ${toError(error).message}`)
  }
  if (failure === null) say(`seed ${seed}: everything held; ${file} has its whole plan`)
  else
    say(
      `seed ${seed} fails (${failure.what}); ${file} has ${sizeOf(smallest)} of ${sizeOf(plan)}, after ${tries} tries`,
    )
  return true
}

function sizeOf({ acts, faults, cluster }: SimulationPlan): string {
  return `${acts.length} acts, ${faults.length} faults and ${cluster.workers.length} workers`
}

function seedOptions(seed: number, { faults, stress }: Options): SeedOptions {
  return { seed, faults, ...(stress !== undefined && { stress }) }
}

/** As the command line names it. */
function named({ seed, faults, stress }: SeedOptions): string {
  return `--seed ${seed}${stress === undefined ? '' : ` --stress ${stress}`}${faults === false ? ' --no-faults' : ''}`
}

async function search(options: Options): Promise<boolean> {
  const { minutes = Infinity, count = Infinity, from, firstFailure = false } = options
  const startedAt = performance.now()
  const first = from ?? Math.floor(Math.random() * 2 ** 31)
  let failed = 0
  let done = 0
  for (; done < count && performance.now() - startedAt < minutes * MINUTE_MS; done++) {
    const seeded = seedOptions(first + done, options)
    const report = await simulate(seeded)
    if (report.failure === null) continue
    failed++
    tell(report, named(seeded))
    say(`record it: npm run sim -- ${named(seeded)} --record test/simulation/regressions/WHAT-FAILED.json`)
    if (firstFailure) break
  }
  say(`${done} seeds from ${first} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s: ${failed} failed`)
  return failed === 0
}

function tellAll(report: SimulationReport, what: string): boolean {
  for (const line of report.trace) say(line)
  for (const line of report.outcome) say(line)
  tell(report, what)
  return report.failure === null
}

/** `what`: the options that name the run. */
function tell({ seed, failure, hash, events, tasks, virtualMs }: SimulationReport, what: string): void {
  say(
    `seed ${seed}: ${tasks} tasks, ${events} events, ${(virtualMs / 1000).toFixed(2)} virtual seconds, history ${hash}`,
  )
  if (failure === null) return say('everything held')
  say(`FAILED at ${failure.atMs.toFixed(1)} ms: ${failure.what}`)
  for (const line of failure.details) say(`  ${line}`)
  say(`replay it: npm run sim -- ${what} --trace`)
}

process.exitCode = (await main()) === false ? 1 : 0
