// `npm run sim`: replays one seed, searches for seeds that fail, or runs at scale. Exit code 1 when something failed.

import { Command, InvalidArgumentError, Option } from 'commander'
import { scaleRun } from './scale.ts'
import { simulate, type SimulationReport } from './simulate.ts'
import { type Stress, STRESSES } from './stress.ts'

interface Options {
  readonly seed?: number
  readonly trace?: boolean
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

const program = new Command('npm run sim --')
  .description('Runs the production cores in a simulated cluster under virtual time (docs/simulation.md).')
  .option('--seed <n>', 'replay this seed and print its story', whole)
  .option('--trace', 'with --seed: every event, message and effect')
  .option('--no-faults', 'only what clients do, nothing breaks')
  .addOption(new Option('--stress <kind>', 'more trouble of this kind than the seeds bring').choices(STRESSES))
  .option('--minutes <m>', 'search for failing seeds for so long', positive)
  .option('--count <n>', 'search so many seeds', whole)
  .option('--from <n>', 'first seed of a search (one at random when absent)', whole)
  .option('--first-failure', 'end a search with the first seed that fails')
  .option('--workers <n>', 'scale run: so many workers', whole)
  .option('--tasks <n>', 'scale run: so many tasks', whole)

async function main(): Promise<boolean | undefined> {
  const options = program.parse().opts<Options>()
  if (options.workers !== undefined || options.tasks !== undefined)
    return scaleRun({ workers: options.workers ?? 10, tasks: options.tasks ?? 10_000 }, say)
  if (options.seed !== undefined) return replay(options.seed, options)
  if (options.minutes !== undefined || options.count !== undefined) return search(options)
  program.outputHelp()
  return undefined
}

async function replay(seed: number, { trace = false, faults, stress }: Options): Promise<boolean> {
  const report = await simulate({ seed, trace, faults, ...(stress !== undefined && { stress }) })
  for (const line of report.trace) say(line)
  for (const line of report.outcome) say(line)
  tell(report, stress)
  return report.failure === null
}

async function search({
  minutes = Infinity,
  count = Infinity,
  from,
  faults,
  stress,
  firstFailure = false,
}: Options): Promise<boolean> {
  const startedAt = performance.now()
  const first = from ?? Math.floor(Math.random() * 2 ** 31)
  const failed: number[] = []
  let done = 0
  for (; done < count && performance.now() - startedAt < minutes * MINUTE_MS; done++) {
    const report = await simulate({ seed: first + done, faults, ...(stress !== undefined && { stress }) })
    if (report.failure === null) continue
    failed.push(report.seed)
    tell(report, stress)
    if (firstFailure) break
  }
  say(
    `${done} seeds from ${first} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s: ${failed.length} failed`,
  )
  return failed.length === 0
}

function tell({ seed, failure, hash, events, tasks, virtualMs }: SimulationReport, stress: Stress | undefined): void {
  say(
    `seed ${seed}: ${tasks} tasks, ${events} events, ${(virtualMs / 1000).toFixed(2)} virtual seconds, history ${hash}`,
  )
  if (failure === null) return say('everything held')
  say(`FAILED at ${failure.atMs.toFixed(1)} ms: ${failure.what}`)
  for (const line of failure.details) say(`  ${line}`)
  say(`replay it: npm run sim -- --seed ${seed}${stress === undefined ? '' : ` --stress ${stress}`} --trace`)
}

process.exitCode = (await main()) === false ? 1 : 0
